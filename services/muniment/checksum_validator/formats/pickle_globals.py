"""What a pickle may import without being blocked: an allow-list of exact names, never a list of bad ones.

Each of these only builds plain data, arrays, storages or estimators from its arguments. A name outside the list is
unknown, and unknown is blocked: `os.system`, `pkgutil.resolve_name` and whatever is found next need no entry anywhere.
Names are compared whole, so `OrderedDict.__init__.__globals__` is not `OrderedDict`, and a module's submodules are not
the module. Operators may vouch for further names (`Limits.trusted_globals`).

Names as pickled by Python 2.7 to 3.14, NumPy 1 and 2, PyTorch 0.4 to 2.x, SciPy, joblib and scikit-learn to 1.9.
"""

from __future__ import annotations

from typing import Final


def _names(table: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (module, name) for modules, names in table.items() for module in modules.split() for name in names.split()
    )


_PLAIN: Final = _names(
    {
        "builtins __builtin__": (
            "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple long "
            "unicode xrange"
        ),
        "collections": "OrderedDict deque defaultdict Counter",
        "copyreg copy_reg": "_reconstructor",
        "_codecs": "encode",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "pathlib": "PurePosixPath PureWindowsPath PosixPath WindowsPath",
        "uuid": "UUID",
        "numpy": (
            "dtype ndarray bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
            "complex64 complex128 longdouble str_ bytes_ datetime64 timedelta64"
        ),
        "numpy.core.multiarray numpy._core.multiarray": "_reconstruct scalar",
        "numpy.core.numeric numpy._core.numeric": "_frombuffer",
        "numpy.dtypes": (
            "BoolDType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType UInt32DType UInt64DType "
            "Float16DType Float32DType Float64DType Complex64DType Complex128DType StrDType BytesDType ObjectDType "
            "DateTime64DType TimeDelta64DType"
        ),
        "numpy.ma.core": "_mareconstruct MaskedArray",
        "numpy.random": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
        "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
        "numpy.random._mt19937": "MT19937",
        "numpy.random._pcg64": "PCG64 PCG64DXSM",
        "numpy.random._philox": "Philox",
        "numpy.random._sfc64": "SFC64",
        "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
        "joblib.numpy_pickle": "NumpyArrayWrapper",
        "scipy.interpolate._bsplines": "BSpline",
        "scipy._lib.array_api_compat.numpy._aliases": "asarray",
        "scipy.sparse._csr scipy.sparse.csr": "csr_matrix csr_array",
        "scipy.sparse._csc scipy.sparse.csc": "csc_matrix csc_array",
        "scipy.sparse._coo scipy.sparse.coo": "coo_matrix coo_array",
        "scipy.sparse._dia scipy.sparse.dia": "dia_matrix dia_array",
    }
)

_TORCH: Final = _names(
    {
        "torch._utils": (
            "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
            "_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_sparse_csr_tensor "
            "_rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_device_tensor_from_numpy "
            "_rebuild_device_tensor_from_cpu_tensor _rebuild_wrapper_subclass"
        ),
        "torch._tensor": "_rebuild_from_type_v2",
        "torch.storage": "UntypedStorage TypedStorage _TypedStorage _UntypedStorage",
        "torch torch.cuda": (
            "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage "
            "CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage QInt8Storage "
            "QUInt8Storage QInt32Storage QUInt4x2Storage QUInt2x4Storage"
        ),
        "torch": (
            "Size Tensor device dtype layout float float16 float32 float64 half double bfloat16 int8 int16 int32 "
            "int64 uint8 uint16 uint32 uint64 bool complex32 complex64 complex128 qint8 quint8 qint32 quint4x2 "
            "quint2x4 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu strided sparse_coo "
            "sparse_csr per_tensor_affine per_channel_affine contiguous_format channels_last preserve_format"
        ),
        "torch._C": "Size device dtype layout",
        "torch.serialization": "_get_layout",
        "torch.nn.parameter": "Parameter UninitializedParameter Buffer",
        "torch.nn": "Parameter",
        # TorchScript's own pickles (constants.pkl) name types that only its C++ reader resolves.
        "torch.jit._pickle": (
            "build_intlist build_doublelist build_boollist build_tensorlist build_tensor_from_id restore_type_tag"
        ),
    }
)

_SKLEARN: Final[dict[str, frozenset[str]]] = {
    package: frozenset(names.split())
    for package, names in {
        "_loss": (
            "HalfSquaredError AbsoluteError PinballLoss HuberLoss HalfPoissonLoss HalfGammaLoss HalfTweedieLoss "
            "HalfTweedieLossIdentity HalfBinomialLoss HalfMultinomialLoss ExponentialLoss CyHalfSquaredError "
            "CyAbsoluteError CyPinballLoss CyHuberLoss CyHalfPoissonLoss CyHalfGammaLoss CyHalfTweedieLoss "
            "CyHalfTweedieLossIdentity CyHalfBinomialLoss CyHalfMultinomialLoss CyExponentialLoss IdentityLink "
            "LogLink LogitLink HalfLogitLink MultinomialLogit Interval"
        ),
        "calibration": "CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration",
        "cluster": (
            "AffinityPropagation AgglomerativeClustering Birch BisectingKMeans DBSCAN FeatureAgglomeration HDBSCAN "
            "KMeans MeanShift MiniBatchKMeans OPTICS SpectralBiclustering SpectralClustering SpectralCoclustering "
            "_CFNode _CFSubcluster _BisectingTree _kmeans_single_lloyd _kmeans_single_elkan"
        ),
        "compose": "ColumnTransformer TransformedTargetRegressor _RemainderColsList",
        "covariance": (
            "EllipticEnvelope EmpiricalCovariance GraphicalLasso GraphicalLassoCV LedoitWolf MinCovDet OAS "
            "ShrunkCovariance"
        ),
        "cross_decomposition": "CCA PLSCanonical PLSRegression PLSSVD",
        "decomposition": (
            "DictionaryLearning FactorAnalysis FastICA IncrementalPCA KernelPCA LatentDirichletAllocation "
            "MiniBatchDictionaryLearning MiniBatchNMF MiniBatchSparsePCA NMF PCA SparseCoder SparsePCA "
            "TruncatedSVD"
        ),
        "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
        "dummy": "DummyClassifier DummyRegressor",
        "ensemble": (
            "AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor ExtraTreesClassifier "
            "ExtraTreesRegressor GradientBoostingClassifier GradientBoostingRegressor "
            "HistGradientBoostingClassifier HistGradientBoostingRegressor IsolationForest RandomForestClassifier "
            "RandomForestRegressor RandomTreesEmbedding StackingClassifier StackingRegressor VotingClassifier "
            "VotingRegressor TreePredictor _BinMapper"
        ),
        "feature_extraction": (
            "CountVectorizer DictVectorizer FeatureHasher HashingVectorizer PatchExtractor TfidfTransformer "
            "TfidfVectorizer"
        ),
        "feature_selection": (
            "RFE RFECV SelectFromModel SequentialFeatureSelector VarianceThreshold GenericUnivariateSelect "
            "SelectFdr SelectFpr SelectFwe SelectKBest SelectPercentile f_classif f_regression chi2 r_regression "
            "mutual_info_classif mutual_info_regression"
        ),
        "gaussian_process": (
            "GaussianProcessClassifier GaussianProcessRegressor RBF Matern ConstantKernel WhiteKernel DotProduct "
            "ExpSineSquared RationalQuadratic Sum Product Exponentiation CompoundKernel "
            "_BinaryGaussianProcessClassifierLaplace"
        ),
        "impute": "IterativeImputer KNNImputer MissingIndicator SimpleImputer",
        "isotonic": "IsotonicRegression",
        "kernel_approximation": "AdditiveChi2Sampler Nystroem PolynomialCountSketch RBFSampler SkewedChi2Sampler",
        "kernel_ridge": "KernelRidge",
        "linear_model": (
            "ARDRegression BayesianRidge ElasticNet ElasticNetCV GammaRegressor HuberRegressor Lars LarsCV Lasso "
            "LassoCV LassoLars LassoLarsCV LassoLarsIC LinearRegression LogisticRegression LogisticRegressionCV "
            "MultiTaskElasticNet MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV OrthogonalMatchingPursuit "
            "OrthogonalMatchingPursuitCV PassiveAggressiveClassifier PassiveAggressiveRegressor Perceptron "
            "PoissonRegressor QuantileRegressor RANSACRegressor Ridge RidgeCV RidgeClassifier RidgeClassifierCV "
            "SGDClassifier SGDOneClassSVM SGDRegressor TheilSenRegressor TweedieRegressor Hinge SquaredHinge Log "
            "ModifiedHuber Huber EpsilonInsensitive SquaredEpsilonInsensitive SquaredLoss"
        ),
        "manifold": "ClassicalMDS Isomap LocallyLinearEmbedding MDS SpectralEmbedding TSNE",
        "metrics": (
            "newObj EuclideanDistance64 EuclideanDistance32 EuclideanDistance ManhattanDistance64 "
            "ChebyshevDistance64 MinkowskiDistance64 HaversineDistance64 _PassthroughScorer _Scorer _CurveScorer "
            "balanced_accuracy_score accuracy_score"
        ),
        "mixture": "BayesianGaussianMixture GaussianMixture",
        "model_selection": (
            "FixedThresholdClassifier GridSearchCV RandomizedSearchCV TunedThresholdClassifierCV KFold StratifiedKFold"
        ),
        "multiclass": "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier _ConstantPredictor",
        "multioutput": "ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain",
        "naive_bayes": "BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB",
        "neighbors": (
            "KNeighborsClassifier KNeighborsRegressor KNeighborsTransformer KernelDensity LocalOutlierFactor "
            "NearestCentroid NearestNeighbors NeighborhoodComponentsAnalysis RadiusNeighborsClassifier "
            "RadiusNeighborsRegressor RadiusNeighborsTransformer KDTree KDTree64 BallTree BallTree64 newObj"
        ),
        "neural_network": "BernoulliRBM MLPClassifier MLPRegressor AdamOptimizer SGDOptimizer",
        "pipeline": "FeatureUnion Pipeline",
        "preprocessing": (
            "Binarizer KBinsDiscretizer KernelCenterer LabelBinarizer LabelEncoder MaxAbsScaler MinMaxScaler "
            "MultiLabelBinarizer Normalizer OneHotEncoder OrdinalEncoder PolynomialFeatures PowerTransformer "
            "QuantileTransformer RobustScaler SplineTransformer StandardScaler TargetEncoder FunctionTransformer"
        ),
        "random_projection": "GaussianRandomProjection SparseRandomProjection",
        "semi_supervised": "LabelPropagation LabelSpreading SelfTrainingClassifier",
        "svm": "LinearSVC LinearSVR NuSVC NuSVR OneClassSVM SVC SVR",
        "tree": "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor Tree",
        "utils": "Bunch MetadataRequest MethodMetadataRequest",
    }.items()
}
"""Estimators by package: their private modules move between releases, their names do not. Functions
that some of them hold (scores, distances, losses) are listed too; one that is not, is unknown like everything else."""


def is_allowed(module: str, name: str, trusted: frozenset[str]) -> bool:
    """Whether importing `name` from `module` is known to be harmless, or vouched for."""
    if (module, name) in _PLAIN or (module, name) in _TORCH:
        return True
    if module == "__torch__" or module.startswith("__torch__."):
        return True  # TorchScript's own classes: no Python module has this name
    if module.startswith("sklearn."):
        package, _, private = module.removeprefix("sklearn.").partition(".")
        names = _SKLEARN.get(package, frozenset())
        # `sklearn.tree`, `sklearn.tree._classes`: a class keeps its name under whichever module of its package.
        return name in names and all(part.isidentifier() for part in private.split(".") if private)
    return "." not in name and f"{module}.{name}" in trusted
