"""Moving bytes: finding and hashing local files, uploading and downloading them with threads, in bounded memory."""
