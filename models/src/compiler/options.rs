// SPDX-License-Identifier: Apache-2.0
//! The options of gcc and clang: how each one attaches its argument, and what it means for the question "which files".
//!
//! The compilers know some three thousand options. Those that name files, write files, print, or choose programs and
//! libraries each have a row here. The others fall into families (`-f…`, `-m…`, `-W…`, `-g…`, `-O…`) whose members
//! only change what the result contains. A member of the `-f` family that carries a value and has no row may name
//! a file: it is unknown, and the command is declined.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use Audience::{Any, Clang, Gnu};
use Meaning as M;
use Shape::{Either, Equals, Flag, Joined, Separate};

/// Which compilers know an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Any,
    Gnu,
    Clang,
}

/// How an option attaches its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No argument: `-c`.
    Flag,
    /// The rest of the word: `-O2`. The rest may be empty.
    Joined,
    /// The next word: `-MF FILE`.
    Separate,
    /// The rest of the word, or the next word where the rest is empty: `-Idir`, `-I dir`.
    Either,
    /// `--sysroot=DIR` or `--sysroot DIR`.
    Equals,
}

/// What an option means to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `-E`, `-S`, `-c`: where the driver stops.
    Preprocess,
    Assembly,
    Object,
    /// `-M`, `-MM`: print a makefile rule in place of the text.
    Rule,
    /// `-MD`, `-MMD`: write the rule beside compiling.
    RuleBeside,
    RuleFile,
    RuleTarget,
    RulePhony,
    Output,
    Language,
    /// `-D`, `-U`, `-A`: kept for the preprocessor.
    Macro,
    Include,
    Quote,
    System,
    After,
    /// `-include`, `-imacros`.
    Forced,
    /// Decides which directories or languages the preprocessor uses; stays in every probe and question.
    Front,
    /// As `Front`, and its value is a path.
    FrontPath,
    /// `-B`: a path or a prefix of one; decides which programs run.
    ToolPrefix,
    /// As `FrontPath`, and the file is an input.
    FrontFile,
    /// A flag that can pull other files of the toolchain into compile or link: stays in the probes.
    Toolchain,
    /// Changes what the result contains, not which files are read or written.
    Plain,
    /// Changes only what `-E` writes.
    Text,
    /// A diagnostic option: as `Plain`.
    Warning,
    /// `-Wp,…`, `-Xpreprocessor`, `-Wa,…`, `-Xassembler`, `-Wl,…`, `-Xlinker`.
    PreprocessorList,
    AssemblerList,
    AssemblerWord,
    LinkerList,
    LinkerWord,
    Library,
    LibraryDir,
    /// Only for the linker, stays in the link probe.
    LinkToolchain,
    /// Only for the linker, and of no importance to it when it looks for files.
    LinkPlain,
    /// Only for the linker; the value is a linker script.
    LinkScript,
    Static,
    Shared,
    Relocatable,
    /// Side outputs.
    Coverage,
    CoverageNotes,
    SplitDwarf,
    SplitDwarfNone,
    StackUsage,
    CallGraph,
    /// The value is a file that is read.
    ReadsFile,
    /// `-fprofile-use` and its like.
    ProfileUse,
    /// Asks the compiler about itself and does nothing else.
    Query,
    /// A query if there is nothing to compile; else it prints beside.
    Verbose,
    /// Not deferred, for this reason.
    Declined(&'static str),
}

/// One option.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name, dashes included.
    pub(super) name: &'static str,
    /// How it attaches its argument.
    pub(super) shape: Shape,
    /// What it means.
    pub(super) meaning: Meaning,
    audience: Audience,
}

const fn row(name: &'static str, shape: Shape, meaning: Meaning, audience: Audience) -> Row {
    Row { name, shape, meaning, audience }
}

const PRINTS: Meaning = M::Declined("prints beside its work");
const TEMPORARIES: Meaning = M::Declined("keeps temporary files");
const DUMPS: Meaning = M::Declined("writes dumps");
const MODULES: Meaning = M::Declined("uses modules");
const RENAMES: Meaning = M::Declined("renames auxiliary outputs");
const PRECOMPILED: Meaning = M::Declined("uses a precompiled header, which records times");
const SIDE_FILE: Meaning = M::Declined("writes a report to a file");
const PREFIXES: Meaning = M::Declined("builds include directories from a prefix");
const SEVERAL_TARGETS: Meaning = M::Declined("compiles for several targets");
const CODE_STATE: Meaning = M::Declined("shares state between runs of the compiler");

/// All options, sorted by name in byte order: [`find`] looks only at those with the right second byte.
const OPTIONS: &[Row] = &[
    row("-###", Flag, M::Query, Any),
    row("--", Flag, M::Declined("option --"), Any),
    row("--analyze", Flag, M::Declined("static analysis"), Any),
    row("--config", Equals, M::Declined("reads a configuration file"), Any),
    row("--coverage", Flag, M::Coverage, Any),
    row("--gcc-toolchain=", Joined, M::FrontPath, Clang),
    row("--help", Joined, M::Query, Any),
    row("--ld-path=", Joined, M::LinkToolchain, Clang),
    row("--no-sysroot-suffix", Flag, M::Front, Gnu),
    row("--param", Equals, M::Plain, Any),
    row("--print-", Joined, M::Query, Any),
    row("--rtlib=", Joined, M::LinkToolchain, Clang),
    row("--serialize-diagnostics", Separate, SIDE_FILE, Clang),
    row("--std=", Joined, M::Plain, Any),
    row("--stdlib=", Joined, M::Front, Clang),
    row("--sysroot", Equals, M::FrontPath, Any),
    row("--target-help", Flag, M::Query, Any),
    row("--target=", Joined, M::Front, Clang),
    row("--unwindlib=", Joined, M::LinkToolchain, Clang),
    row("--verbose", Flag, M::Verbose, Any),
    row("--version", Flag, M::Query, Any),
    row("-A", Either, M::Macro, Any),
    row("-B", Either, M::ToolPrefix, Any),
    row("-C", Flag, M::Text, Any),
    row("-CC", Flag, M::Text, Any),
    row("-D", Either, M::Macro, Any),
    row("-E", Flag, M::Preprocess, Any),
    row("-H", Flag, PRINTS, Any),
    row("-I", Either, M::Include, Any),
    row("-I-", Flag, M::Declined("option -I-"), Any),
    row("-L", Either, M::LibraryDir, Any),
    row("-M", Flag, M::Rule, Any),
    row("-MD", Flag, M::RuleBeside, Any),
    row("-MF", Either, M::RuleFile, Any),
    row("-MG", Flag, M::Declined("lists headers that do not exist"), Any),
    row("-MJ", Either, SIDE_FILE, Clang),
    row("-MM", Flag, M::Rule, Any),
    row("-MMD", Flag, M::RuleBeside, Any),
    row("-MP", Flag, M::RulePhony, Any),
    row("-MQ", Either, M::RuleTarget, Any),
    row("-MT", Either, M::RuleTarget, Any),
    row("-MV", Flag, M::Declined("option -MV"), Clang),
    row("-N", Flag, M::LinkPlain, Any),
    row("-O", Joined, M::Plain, Any),
    row("-ObjC", Flag, M::Declined("sets the language of all sources"), Clang),
    row("-ObjC++", Flag, M::Declined("sets the language of all sources"), Clang),
    row("-Ofast", Flag, M::Toolchain, Any), // links crtfastmath.o
    row("-P", Flag, M::Text, Any),
    row("-Q", Flag, PRINTS, Any),
    row("-Qn", Flag, M::Plain, Any),
    row("-Qunused-arguments", Flag, M::Warning, Clang),
    row("-Qy", Flag, M::Plain, Any),
    row("-R", Separate, M::LinkPlain, Gnu),
    row("-Rpass", Joined, PRINTS, Clang),
    row("-S", Flag, M::Assembly, Any),
    row("-T", Either, M::LinkScript, Any),
    row("-Tbss", Either, M::LinkPlain, Any),
    row("-Tdata", Either, M::LinkPlain, Any),
    row("-Ttext", Either, M::LinkPlain, Any),
    row("-Ttext-segment=", Joined, M::LinkPlain, Any),
    row("-U", Either, M::Macro, Any),
    row("-W", Joined, M::Warning, Any),
    row("-Wa,", Joined, M::AssemblerList, Any),
    row("-Wl,", Joined, M::LinkerList, Any),
    row("-Wp,", Joined, M::PreprocessorList, Any),
    row("-X", Flag, M::LinkPlain, Any),
    row("-Xanalyzer", Separate, M::Declined("option -Xanalyzer"), Clang),
    row("-Xassembler", Separate, M::AssemblerWord, Any),
    row("-Xclang", Separate, M::Declined("option -Xclang"), Clang),
    row("-Xlinker", Separate, M::LinkerWord, Any),
    row("-Xpreprocessor", Separate, M::Declined("option -Xpreprocessor"), Any),
    row("-Z", Flag, M::LinkPlain, Gnu),
    row("-ansi", Flag, M::Plain, Any),
    row("-aux-info", Either, SIDE_FILE, Gnu),
    row("-c", Flag, M::Object, Any),
    row("-cxx-isystem", Either, PREFIXES, Clang),
    row("-d", Joined, DUMPS, Any),
    row("-dD", Flag, M::Text, Any),
    row("-dI", Flag, M::Text, Any),
    row("-dM", Flag, M::Text, Any),
    row("-dN", Flag, M::Text, Gnu),
    row("-dU", Flag, M::Text, Gnu),
    row("-dp", Flag, M::Plain, Gnu), // comments in the assembler text
    row("-dumpbase", Separate, RENAMES, Gnu),
    row("-dumpbase-ext", Separate, RENAMES, Gnu),
    row("-dumpdir", Separate, RENAMES, Any),
    row("-dumpfullversion", Flag, M::Query, Gnu),
    row("-dumpmachine", Flag, M::Query, Any),
    row("-dumpspecs", Flag, M::Query, Gnu),
    row("-dumpversion", Flag, M::Query, Any),
    row("-e", Separate, M::LinkPlain, Any),
    row("-emit-ast", Flag, M::Declined("writes a syntax tree"), Clang),
    row("-emit-llvm", Flag, M::Declined("writes LLVM code"), Clang),
    row("-f", Joined, M::Plain, Any),
    row("-fabi-compat-version=", Joined, M::Plain, Gnu),
    row("-fabi-version=", Joined, M::Plain, Gnu),
    row("-falign-functions=", Joined, M::Plain, Any),
    row("-falign-jumps=", Joined, M::Plain, Gnu),
    row("-falign-labels=", Joined, M::Plain, Gnu),
    row("-falign-loops=", Joined, M::Plain, Any),
    row("-faligned-new=", Joined, M::Plain, Any),
    row("-fasan-shadow-offset=", Joined, M::Plain, Any),
    row("-fauto-profile", Joined, M::Declined("uses a profile"), Gnu),
    row("-fbasic-block-sections=", Joined, M::Declined("option -fbasic-block-sections"), Clang),
    row("-fbranch-probabilities", Flag, M::Declined("uses a profile"), Gnu),
    row("-fcallgraph-info", Joined, M::CallGraph, Gnu),
    row("-fcf-protection=", Joined, M::Plain, Any),
    row("-fclang-abi-compat=", Joined, M::Plain, Clang),
    row("-fcommon", Flag, M::Plain, Any),
    row("-fcompare-debug", Joined, M::Declined("compiles twice"), Gnu),
    row("-fconstexpr-backtrace-limit=", Joined, M::Plain, Clang),
    row("-fconstexpr-cache-depth=", Joined, M::Plain, Gnu),
    row("-fconstexpr-depth=", Joined, M::Plain, Any),
    row("-fconstexpr-loop-limit=", Joined, M::Plain, Gnu),
    row("-fconstexpr-ops-limit=", Joined, M::Plain, Gnu),
    row("-fconstexpr-steps=", Joined, M::Plain, Clang),
    row("-fcoverage-compilation-dir=", Joined, M::Plain, Clang),
    row("-fcoverage-prefix-map=", Joined, M::Plain, Any),
    row("-fcrash-diagnostics-dir=", Joined, M::Plain, Clang),
    row("-fcs-profile-", Joined, M::Declined("uses a profile"), Clang),
    row("-fdebug-compilation-dir=", Joined, M::Plain, Clang),
    row("-fdebug-default-version=", Joined, M::Plain, Clang),
    row("-fdebug-prefix-map=", Joined, M::Plain, Any),
    row("-fdenormal-fp-math=", Joined, M::Plain, Clang),
    row("-fdiagnostics-add-output=", Joined, SIDE_FILE, Gnu),
    row("-fdiagnostics-color=", Joined, M::Warning, Any),
    row("-fdiagnostics-column-unit=", Joined, M::Warning, Gnu),
    row("-fdiagnostics-format=", Joined, M::Declined("writes diagnostics in another form"), Any),
    row("-fdiagnostics-set-output=", Joined, SIDE_FILE, Gnu),
    row("-fdiagnostics-show-category=", Joined, M::Warning, Clang),
    row("-fdiagnostics-show-location=", Joined, M::Warning, Gnu),
    row("-fdiagnostics-urls=", Joined, M::Warning, Gnu),
    row("-fdisable-", Joined, PRINTS, Gnu),
    row("-fdump-", Joined, DUMPS, Any),
    row("-femit-struct-debug-detailed=", Joined, M::Plain, Gnu),
    row("-fenable-", Joined, PRINTS, Gnu),
    row("-fexcess-precision=", Joined, M::Plain, Any),
    row("-fexec-charset=", Joined, M::Toolchain, Any), // gconv modules
    row("-fextended-identifiers", Flag, M::Plain, Any),
    row("-fextern-tls-init", Flag, M::Plain, Gnu),
    row("-ffast-math", Flag, M::Toolchain, Any), // links crtfastmath.o
    row("-ffile-compilation-dir=", Joined, M::Plain, Clang),
    row("-ffile-prefix-map=", Joined, M::Plain, Any),
    row("-ffp-contract=", Joined, M::Plain, Any),
    row("-ffp-exception-behavior=", Joined, M::Plain, Clang),
    row("-ffp-model=", Joined, M::Toolchain, Clang),
    row("-finline-limit=", Joined, M::Plain, Any),
    row("-finput-charset=", Joined, M::Toolchain, Any),
    row("-finstrument-functions-exclude-file-list=", Joined, M::Plain, Gnu),
    row("-finstrument-functions-exclude-function-list=", Joined, M::Plain, Gnu),
    row("-fira-algorithm=", Joined, M::Plain, Gnu),
    row("-fira-region=", Joined, M::Plain, Gnu),
    row("-flifetime-dse=", Joined, M::Plain, Gnu),
    row("-flinker-output=", Joined, M::Toolchain, Gnu),
    row("-flive-patching=", Joined, M::Plain, Gnu),
    row("-flto", Joined, M::Toolchain, Any),
    row("-flto-compression-level=", Joined, M::Plain, Gnu),
    row("-flto-partition=", Joined, M::Plain, Gnu),
    row("-fmacro-backtrace-limit=", Joined, M::Warning, Clang),
    row("-fmacro-prefix-map=", Joined, M::Plain, Any),
    row("-fmax-errors=", Joined, M::Warning, Any),
    row("-fmax-include-depth=", Joined, M::Plain, Gnu),
    row("-fmax-type-align=", Joined, M::Plain, Clang),
    row("-fmem-report", Joined, PRINTS, Any),
    row("-fmessage-length=", Joined, M::Warning, Any),
    row("-fmodule", Joined, MODULES, Any),
    row("-fmodules", Joined, MODULES, Any),
    row("-fms-compatibility-version=", Joined, M::Front, Clang),
    row("-fno-lto", Flag, M::Toolchain, Any),
    row("-fno-modules", Joined, M::Plain, Any),
    row("-fno-sanitize-recover=", Joined, M::Toolchain, Any),
    row("-fno-sanitize-trap=", Joined, M::Toolchain, Any),
    row("-fno-sanitize=", Joined, M::Toolchain, Any),
    row("-fno-use-linker-plugin", Flag, M::Toolchain, Gnu),
    row("-fobjc-runtime=", Joined, M::Front, Clang),
    row("-foffload", Joined, SEVERAL_TARGETS, Any),
    row("-fopenacc", Joined, M::Toolchain, Any),
    row("-fopenmp", Joined, M::Toolchain, Any),
    row("-fopenmp-targets=", Joined, SEVERAL_TARGETS, Clang),
    row("-fopt-info", Joined, PRINTS, Gnu),
    row("-foptimization-record-", Joined, SIDE_FILE, Clang),
    row("-fpack-struct=", Joined, M::Plain, Any),
    row("-fpass-plugin=", Joined, M::FrontFile, Clang),
    row("-fpatchable-function-entry=", Joined, M::Plain, Any),
    row("-fpch-preprocess", Flag, M::Declined("option -fpch-preprocess"), Gnu),
    row("-fplugin-arg-", Joined, M::Declined("passes arguments to a plugin"), Any),
    row("-fplugin=", Joined, M::FrontFile, Any),
    row("-fpre-include=", Joined, M::Declined("option -fpre-include"), Any),
    row("-fprebuilt-", Joined, MODULES, Clang),
    row("-fprofile-", Joined, M::Toolchain, Any),
    row("-fprofile-dir=", Joined, M::Plain, Gnu), // only where the program will write
    row("-fprofile-generate", Joined, M::Toolchain, Any),
    row("-fprofile-instr-use", Joined, M::ProfileUse, Clang),
    row("-fprofile-list=", Joined, M::ReadsFile, Clang),
    row("-fprofile-note=", Joined, RENAMES, Gnu),
    row("-fprofile-remapping-file=", Joined, M::ReadsFile, Clang),
    row("-fprofile-sample-use", Joined, M::ProfileUse, Clang),
    row("-fprofile-use", Joined, M::ProfileUse, Any),
    row("-frandom-seed", Flag, M::Plain, Any),
    row("-frandom-seed=", Joined, M::Plain, Any),
    row("-freorder-blocks-algorithm=", Joined, M::Plain, Gnu),
    row("-frepo", Flag, CODE_STATE, Gnu),
    row("-fsanitize", Joined, M::Toolchain, Any),
    row("-fsanitize-blacklist=", Joined, M::ReadsFile, Clang),
    row("-fsanitize-coverage-allowlist=", Joined, M::ReadsFile, Clang),
    row("-fsanitize-coverage-ignorelist=", Joined, M::ReadsFile, Clang),
    row("-fsanitize-ignorelist=", Joined, M::ReadsFile, Clang),
    row("-fsave-optimization-record", Joined, SIDE_FILE, Any),
    row("-fsched-stalled-insns-dep=", Joined, M::Plain, Gnu),
    row("-fsched-stalled-insns=", Joined, M::Plain, Gnu),
    row("-fself-test", Joined, M::Query, Gnu),
    row("-fshow-overloads=", Joined, M::Warning, Clang),
    row("-fsimd-cost-model=", Joined, M::Plain, Gnu),
    row("-fspell-checking-limit=", Joined, M::Warning, Clang),
    row("-fsplit-stack", Flag, M::Toolchain, Any),
    row("-fsso-struct=", Joined, M::Plain, Gnu),
    row("-fstack-check=", Joined, M::Plain, Gnu),
    row("-fstack-limit-register=", Joined, M::Plain, Gnu),
    row("-fstack-limit-symbol=", Joined, M::Plain, Gnu),
    row("-fstack-protector", Joined, M::Toolchain, Any), // libssp on some systems
    row("-fstack-reuse=", Joined, M::Plain, Gnu),
    row("-fstack-usage", Flag, M::StackUsage, Any),
    row("-fstats", Flag, PRINTS, Gnu),
    row("-fstrict-flex-arrays=", Joined, M::Plain, Any),
    row("-fsyntax-only", Flag, M::Declined("only checks, writes nothing"), Any),
    row("-ftabstop=", Joined, M::Warning, Any),
    row("-ftemplate-backtrace-limit=", Joined, M::Warning, Any),
    row("-ftemplate-depth=", Joined, M::Plain, Any),
    row("-ftest-coverage", Flag, M::CoverageNotes, Any),
    row("-fthin-link-bitcode=", Joined, SIDE_FILE, Clang),
    row("-fthinlto-index=", Joined, M::Declined("option -fthinlto-index"), Clang),
    row("-ftime-report", Joined, PRINTS, Any),
    row("-ftime-trace", Joined, SIDE_FILE, Clang),
    row("-ftls-model=", Joined, M::Plain, Any),
    row("-ftrack-macro-expansion=", Joined, M::Plain, Gnu),
    row("-ftree-parallelize-loops=", Joined, M::Toolchain, Gnu), // links libgomp
    row("-ftree-vectorizer-verbose=", Joined, PRINTS, Gnu),
    row("-ftrivial-auto-var-init=", Joined, M::Plain, Any),
    row("-funwind-tables", Flag, M::Plain, Any),
    row("-fuse-ld=", Joined, M::LinkToolchain, Any),
    row("-fuse-linker-plugin", Flag, M::Toolchain, Gnu),
    row("-fveclib=", Joined, M::Toolchain, Clang),
    row("-fvect-cost-model=", Joined, M::Plain, Gnu),
    row("-fvisibility-ms-compat", Flag, M::Plain, Any),
    row("-fvisibility=", Joined, M::Plain, Any),
    row("-fvtable-verify=", Joined, M::Declined("writes vtable logs"), Gnu),
    row("-fwide-exec-charset=", Joined, M::Toolchain, Any),
    row("-fxray-", Joined, M::Declined("option -fxray"), Clang),
    row("-fzero-call-used-regs=", Joined, M::Plain, Any),
    row("-g", Joined, M::Plain, Any),
    row("-gen-", Joined, SIDE_FILE, Clang),
    row("-gmodules", Flag, MODULES, Clang),
    row("-gsplit-dwarf", Flag, M::SplitDwarf, Any),
    row("-gsplit-dwarf=", Joined, M::SplitDwarf, Clang),
    row("-gsplit-dwarf=single", Flag, M::SplitDwarfNone, Clang),
    row("-h", Separate, M::LinkPlain, Gnu),
    row("-idirafter", Either, M::After, Any),
    row("-imacros", Either, M::Forced, Any),
    row("-imultiarch", Separate, M::Front, Gnu),
    row("-imultilib", Separate, M::Front, Gnu),
    row("-include", Either, M::Forced, Any),
    row("-include-pch", Separate, PRECOMPILED, Clang),
    row("-install_name", Separate, M::Declined("option -install_name"), Clang),
    row("-iprefix", Either, PREFIXES, Any),
    row("-iquote", Either, M::Quote, Any),
    row("-isysroot", Either, M::FrontPath, Any),
    row("-isystem", Either, M::System, Any),
    row("-isystem-after", Either, PREFIXES, Clang),
    row("-ivfsoverlay", Either, M::Declined("overlays the file system"), Clang),
    row("-iwithprefix", Either, PREFIXES, Any),
    row("-iwithprefixbefore", Either, PREFIXES, Any),
    row("-iwithsysroot", Either, PREFIXES, Clang),
    row("-l", Either, M::Library, Any),
    row("-m", Joined, M::Plain, Any),
    row("-m16", Flag, M::Toolchain, Any),
    row("-m31", Flag, M::Toolchain, Any),
    row("-m32", Flag, M::Toolchain, Any),
    row("-m64", Flag, M::Toolchain, Any),
    row("-mabi=", Joined, M::Toolchain, Any),
    row("-mandroid", Flag, M::Toolchain, Gnu),
    row("-march=", Joined, M::Toolchain, Any),
    row("-march=native", Flag, M::Declined("the result depends on this machine's CPU"), Any),
    row("-mbig-endian", Flag, M::Toolchain, Any),
    row("-mcpu=", Joined, M::Toolchain, Any),
    row("-mcpu=native", Flag, M::Declined("the result depends on this machine's CPU"), Any),
    row("-mfloat-abi=", Joined, M::Toolchain, Any),
    row("-mfpu=", Joined, M::Toolchain, Any),
    row("-mhard-float", Flag, M::Toolchain, Any),
    row("-mlittle-endian", Flag, M::Toolchain, Any),
    row("-mllvm", Separate, M::Declined("option -mllvm"), Clang),
    row("-mpc32", Flag, M::Toolchain, Gnu), // -mpcNN link crtprecNN.o
    row("-mpc64", Flag, M::Toolchain, Gnu),
    row("-mpc80", Flag, M::Toolchain, Gnu),
    row("-mrelax", Flag, M::Toolchain, Any),
    row("-msoft-float", Flag, M::Toolchain, Any),
    row("-mthreads", Flag, M::Toolchain, Any),
    row("-mthumb", Flag, M::Toolchain, Any),
    row("-mtune=native", Flag, M::Declined("the result depends on this machine's CPU"), Any),
    row("-mx32", Flag, M::Toolchain, Any),
    row("-n", Flag, M::LinkPlain, Any),
    row("-no-canonical-prefixes", Flag, M::Front, Any),
    row("-no-integrated-cpp", Flag, M::Front, Gnu),
    row("-no-pie", Flag, M::LinkToolchain, Any),
    row("-nodefaultlibs", Flag, M::LinkToolchain, Any),
    row("-nogpulib", Flag, M::LinkToolchain, Clang),
    row("-nolibc", Flag, M::LinkToolchain, Any),
    row("-nopie", Flag, M::LinkToolchain, Clang),
    row("-nostartfiles", Flag, M::LinkToolchain, Any),
    row("-nostdinc", Flag, M::Front, Any),
    row("-nostdinc++", Flag, M::Front, Any),
    row("-nostdlib", Flag, M::LinkToolchain, Any),
    row("-nostdlib++", Flag, M::LinkToolchain, Clang),
    row("-nostdlibinc", Flag, M::Front, Clang),
    row("-o", Either, M::Output, Any),
    row("-p", Flag, M::Toolchain, Any), // gcrt1.o
    row("-pass-exit-codes", Flag, M::Plain, Gnu),
    row("-pedantic", Flag, M::Warning, Any),
    row("-pedantic-errors", Flag, M::Warning, Any),
    row("-pg", Flag, M::Toolchain, Any), // gcrt1.o
    row("-pie", Flag, M::LinkToolchain, Any),
    row("-pipe", Flag, M::Plain, Any),
    row("-print-", Joined, M::Query, Any),
    row("-pthread", Flag, M::Toolchain, Any),
    row("-r", Flag, M::Relocatable, Any),
    row("-rdynamic", Flag, M::LinkPlain, Any),
    row("-remap", Flag, M::Declined("maps file names"), Gnu),
    row("-rpath", Separate, M::LinkPlain, Clang),
    row("-rtlib=", Joined, M::LinkToolchain, Clang),
    row("-s", Flag, M::LinkPlain, Any),
    row("-save-stats", Joined, SIDE_FILE, Clang),
    row("-save-temps", Joined, TEMPORARIES, Any),
    row("-shared", Flag, M::Shared, Any),
    row("-shared-libasan", Flag, M::LinkToolchain, Clang),
    row("-shared-libgcc", Flag, M::LinkToolchain, Any),
    row("-specs", Equals, M::FrontFile, Gnu),
    row("-static", Flag, M::Static, Any),
    row("-static-libasan", Flag, M::LinkToolchain, Gnu),
    row("-static-libgcc", Flag, M::LinkToolchain, Any),
    row("-static-liblsan", Flag, M::LinkToolchain, Gnu),
    row("-static-libsan", Flag, M::LinkToolchain, Clang),
    row("-static-libstdc++", Flag, M::LinkToolchain, Any),
    row("-static-libtsan", Flag, M::LinkToolchain, Gnu),
    row("-static-libubsan", Flag, M::LinkToolchain, Gnu),
    row("-static-pie", Flag, M::Static, Any),
    row("-std=", Joined, M::Plain, Any),
    row("-stdlib=", Joined, M::Front, Clang),
    row("-symbolic", Flag, M::LinkPlain, Gnu),
    row("-t", Flag, PRINTS, Any),
    row("-target", Separate, M::Front, Clang),
    row("-time", Flag, PRINTS, Any),
    row("-time=", Joined, SIDE_FILE, Gnu),
    row("-tno-android-cc", Flag, M::Front, Gnu),
    row("-tno-android-ld", Flag, M::LinkToolchain, Gnu),
    row("-traditional", Flag, M::Plain, Any),
    row("-traditional-cpp", Flag, M::Plain, Any),
    row("-trigraphs", Flag, M::Plain, Any),
    row("-u", Either, M::LinkPlain, Any),
    row("-undef", Flag, M::Plain, Any),
    row("-unwindlib=", Joined, M::LinkToolchain, Clang),
    row("-v", Flag, M::Verbose, Any),
    row("-w", Flag, M::Warning, Any),
    row("-working-directory", Equals, M::Declined("changes the working directory"), Clang),
    row("-wrapper", Separate, M::Declined("runs the compiler through a wrapper"), Gnu),
    row("-x", Either, M::Language, Any),
    row("-z", Either, M::LinkPlain, Any),
];

/// The rows whose second byte is this one.
fn bucket(second: u8) -> &'static [Row] {
    let key = |row: &Row| row.name.as_bytes().get(1).copied().unwrap_or(0);
    let start = OPTIONS.partition_point(|row| key(row) < second);
    let end = OPTIONS.partition_point(|row| key(row) <= second);
    &OPTIONS[start..end]
}

/// Does the row's name begin this argument in a way that its shape allows?
fn fits(row: &Row, arg: &[u8]) -> bool {
    let Some(rest) = arg.strip_prefix(row.name.as_bytes()) else { return false };
    match row.shape {
        Flag | Separate => rest.is_empty(),
        Joined | Either => true,
        Equals => rest.is_empty() || rest.starts_with(b"="),
    }
}

/// The row for an argument that starts with a dash: the one with the longest name that fits. None for an option that the
/// table does not know.
pub(super) fn find(arg: &OsStr, vendor: super::Vendor) -> Option<&'static Row> {
    let arg = arg.as_bytes();
    let known = |row: &&Row| match row.audience {
        Any => true,
        Gnu => vendor == super::Vendor::Gnu,
        Clang => vendor == super::Vendor::Clang,
    };
    let row = bucket(*arg.get(1)?)
        .iter()
        .filter(known)
        .filter(|row| fits(row, arg))
        .max_by_key(|row| row.name.len())?;
    // A member of the large family that has a value may name a file; see the module's text.
    if row.name == "-f" && arg.contains(&b'=') || is_bare_family(row, arg) {
        return None;
    }
    Some(row)
}

/// `-f` and `-m` alone, or followed by something that is no word, are no options.
fn is_bare_family(row: &Row, arg: &[u8]) -> bool {
    matches!(row.name, "-f" | "-m") && !arg.get(2).is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::super::Vendor;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_option_once() {
        for pair in OPTIONS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
    }

    #[test]
    fn the_longest_name_that_fits_wins() {
        let name = |arg: &str, vendor| find(OsStr::new(arg), vendor).map(|row| row.name);
        assert_eq!(name("-O2", Vendor::Gnu), Some("-O"));
        assert_eq!(name("-Ofast", Vendor::Gnu), Some("-Ofast"));
        assert_eq!(name("-MMD", Vendor::Gnu), Some("-MMD"));
        assert_eq!(name("-Wl,-x", Vendor::Gnu), Some("-Wl,"));
        assert_eq!(name("-Wlogical-op", Vendor::Gnu), Some("-W"));
        assert_eq!(name("-static-pie", Vendor::Gnu), Some("-static-pie"));
        assert_eq!(name("-staticx", Vendor::Gnu), None);
        assert_eq!(name("-march=native", Vendor::Gnu), Some("-march=native"));
        assert_eq!(name("-march=nativex", Vendor::Gnu), Some("-march="));
        assert_eq!(name("--sysroot=/x", Vendor::Gnu), Some("--sysroot"));
        assert_eq!(name("--sysrootx", Vendor::Gnu), None);
        assert_eq!(name("-wrapper", Vendor::Clang), None);
        assert_eq!(name("-fomit-frame-pointer", Vendor::Gnu), Some("-f"));
        assert_eq!(name("-fsecret-report=/tmp/x", Vendor::Gnu), None);
        assert_eq!(name("-f", Vendor::Gnu), None);
        assert_eq!(name("-", Vendor::Gnu), None);
        assert_eq!(name("-isystem-after", Vendor::Clang), Some("-isystem-after"));
    }
}
