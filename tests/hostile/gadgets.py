"""Names that have run code, read files or opened connections when a pickle called them, and that blocklists have missed (F11, F12)."""

from __future__ import annotations

GADGETS = """
os:system os:popen os:execv os:execve os:execl os:spawnv os:spawnl os:spawnvp os:posix_spawn os:putenv os:remove os:rename os:rmdir
os:listdir os:open os:fdopen os:mkfifo os:symlink os:chmod os:kill os:abort os:_exit posix:system posix:popen posix:execv posix:remove
nt:system subprocess:Popen subprocess:run subprocess:call subprocess:check_output subprocess:getoutput subprocess:getstatusoutput
builtins:eval builtins:exec builtins:compile builtins:open builtins:__import__ builtins:getattr builtins:setattr builtins:delattr
builtins:globals builtins:locals builtins:vars builtins:dir builtins:input builtins:breakpoint builtins:map builtins:filter builtins:apply
builtins:type builtins:classmethod builtins:property builtins:super builtins:memoryview builtins:print builtins:help __builtin__:eval
__builtin__:execfile __builtin__:file __builtin__:reduce sys:exit sys:setrecursionlimit sys:settrace sys:addaudithook sys:modules
sys:_getframe sys:breakpointhook importlib:import_module importlib:reload importlib.util:spec_from_file_location
importlib.machinery:SourceFileLoader importlib._bootstrap:_load pkgutil:resolve_name pkgutil:get_loader runpy:run_module runpy:run_path
runpy:_run_code pip:main pip._internal.cli.main:main ensurepip:bootstrap venv:create site:execsitecustomize site:addsitedir code:interact
code:InteractiveInterpreter.runcode codeop:compile_command bdb:Bdb.run pdb:run pdb:runeval pdb:Pdb.do_shell cProfile:run cProfile:runctx
cProfile:Profile.runctx profile:run profile:runctx profile:Profile.run trace:Trace.run trace:Trace.runctx timeit:timeit
timeit:Timer.timeit timeit:main doctest:debug_script doctest:testfile doctest:debug_src test.support.script_helper:assert_python_ok
pty:spawn pty:fork pydoc:pipepager pydoc:plainpager pydoc:locate pydoc:safeimport pydoc:browse pydoc:render_doc webbrowser:open
webbrowser:get webbrowser:GenericBrowser antigravity:geohash this:s idlelib.pyshell:main idlelib.run:Executive.runcode
idlelib.autocomplete:AutoComplete.fetch_completions idlelib.calltip:Calltip.fetch_tip idlelib.debugobj:ObjectTreeItem.SetText
lib2to3.pgen2.grammar:Grammar.loads lib2to3.pgen2.pgen:ParserGenerator.make_label ctypes:CDLL ctypes:PyDLL ctypes:string_at ctypes:cast
ctypes:memmove ctypes.util:find_library ctypes.util:_findLib_gcc _ctypes:dlopen cffi:FFI mmap:mmap socket:socket socket:create_connection
socket:getaddrinfo ssl:create_default_context ssl:get_server_certificate http.client:HTTPConnection http.client:HTTPSConnection
http.server:test urllib.request:urlopen urllib.request:urlretrieve urllib.request:Request requests:get requests.api:post ftplib:FTP
smtplib:SMTP telnetlib:Telnet poplib:POP3 imaplib:IMAP4 imaplib:IMAP4_stream nntplib:NNTP xmlrpc.client:ServerProxy
xmlrpc.server:SimpleXMLRPCServer socketserver:TCPServer asyncio:run asyncio:create_subprocess_shell
asyncio.unix_events:_UnixSubprocessTransport asyncio.unix_events:_UnixSubprocessTransport._start asyncio.subprocess:create_subprocess_exec
asyncio.base_events:BaseEventLoop.subprocess_shell multiprocessing:Process multiprocessing.util:spawnv_passfds
multiprocessing.reduction:duplicate multiprocessing.pool:Pool multiprocessing.managers:BaseManager concurrent.futures:ProcessPoolExecutor
concurrent.futures.process:_process_worker threading:Thread _thread:start_new_thread signal:signal signal:raise_signal atexit:register
gc:get_objects weakref:finalize functools:partial functools:reduce functools:partialmethod functools:cached_property operator:attrgetter
operator:methodcaller operator:itemgetter operator:call operator:setitem itertools:starmap itertools:accumulate types:FunctionType
types:CodeType types:MethodType types:ModuleType types:DynamicClassAttribute collections:namedtuple copyreg:add_extension
copyreg:__newobj__ copyreg:dispatch_table pickle:loads pickle:load pickle:Unpickler pickle:_Unpickler _pickle:loads _pickle:Unpickler
marshal:loads marshal:load shelve:open dill:loads cloudpickle:loads joblib:load joblib.numpy_pickle:load joblib.memory:Memory dbm:open
dbm.dumb:open sqlite3:connect sqlite3:Connection shutil:rmtree shutil:copy shutil:move shutil:copyfile shutil:make_archive
shutil:unpack_archive tempfile:NamedTemporaryFile tempfile:mkstemp pathlib:Path pathlib:Path.write_text pathlib:Path.unlink
pathlib:PosixPath.read_bytes glob:glob fileinput:input fileinput:FileInput io:open io:FileIO io:open_code _io:open _io:FileIO codecs:open
linecache:getlines tokenize:open zipfile:ZipFile zipfile:ZipFile.extractall tarfile:open tarfile:TarFile.extractall zipimport:zipimporter
gzip:open bz2:open lzma:open logging:FileHandler logging.config:listen logging.config:fileConfig logging.handlers:SocketHandler
logging.handlers:HTTPHandler uuid:_get_command_stdout uuid:_popen _pyrepl.pager:pipe_pager _osx_support:_read_output
_osx_support:_find_build_tool _aix_support:_read_cmd_output platform:popen platform:_syscmd_ver platform:_syscmd_file commands:getoutput
popen2:popen2 mailcap:findmatch distutils.spawn:spawn distutils.file_util:write_file distutils.core:run_setup setuptools:setup
setuptools.command.easy_install:main nose.tools.nontrivial:make_decorator unittest.mock:_importer unittest:main smtpd:DebuggingServer
cgi:parse numpy:load numpy:fromfile numpy:save numpy:memmap numpy:loadtxt numpy:genfromtxt numpy.f2py:compile
numpy.f2py.crackfortran:getlincoef numpy.f2py.crackfortran:myeval numpy.f2py.crackfortran:param_eval
numpy.testing._private.utils:runstring numpy.testing:run_module_suite numpy.testing._private.utils:rundocs
numpy.distutils.exec_command:exec_command numpy.ctypeslib:load_library numpy._core:_ufunc_reconstruct numpy._core._internal:_ctypes
numpy.core:_ufunc_reconstruct numpy.lib._utils_impl:info numpy:vectorize numpy:frompyfunc numpy:apply_along_axis numpy.lib.npyio:load
numpy.lib.format:read_array numpy.lib.scimath:x numpy.random._pickle:evil scipy.io:loadmat scipy.io:readsav scipy.weave:inline
scipy._lib._util:MapWrapper scipy.optimize:minimize scipy.datasets:face pandas:read_pickle pandas:eval pandas:read_csv
pandas.io.common:get_handle pandas.core.computation.eval:eval sklearn.datasets:fetch_openml sklearn.datasets._base:_fetch_remote
sklearn.datasets:load_files sklearn.utils._testing:run_cmd sklearn.externals._arff:load sklearn.utils.parallel:Parallel
sklearn:show_versions sklearn.base:clone sklearn.utils:all_estimators sklearn.feature_extraction.text:x
sklearn.linear_model:LogisticRegressionX sklearn.tree._tree:evil skops.io:load torch:load torch.hub:load torch.jit:load
torch.serialization:load torch._inductor.codecache:compile_file torch.utils.cpp_extension:load
torch.utils.bottleneck.__main__:run_cprofile torch.utils.collect_env:run torch.utils.data.datapipes.utils.decoder:basichandlers
torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression torch._dynamo.guards:GuardBuilder.get
torch.distributed:init_process_group torch.testing._internal.common_utils:check_module torch.utils._config_module:ConfigModule.load_config
torch.ops:load_library tensorflow:load_library tensorflow.python.ops:io_ops keras.models:load_model keras.utils:get_file onnx:load
onnxruntime:InferenceSession transformers:pipeline huggingface_hub:hf_hub_download cv2:imread PIL.Image:open yaml:load yaml:unsafe_load
jsonpickle:decode jinja2:Template mako.template:Template fabric:Connection paramiko:SSHClient boto3:client sh:Command plumbum:local
pexpect:spawn IPython:embed ipykernel:embed_kernel pytest:main coverage:Coverage nltk:download statsmodels.api:load mlflow:pyfunc
bokeh:plotting fickling:hook fickling.hook:deactivate picklescan.scanner:scan_file_path modelscan:ModelScan
fairlead.security.sandbox:OneShotSandbox fairlead.security.estimator_file:load_estimator fairlead.security.kernel:syscall
""".split()  # noqa: SIM905 - one long list of names reads better as text
