// SPDX-License-Identifier: Apache-2.0
//! From argv to a [`CommandLine`]. Pure but for response files, which the caller reads. Whether files exist is not
//! known here.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::language::{ByName, Language};
use super::options::{self, Meaning as M, Row, Shape};
use super::passed::{self, AssemblerWords, LinkItem, LinkerParser, LinkerWords};
use super::{Compiler, about, decline};
use crate::{Decline, processor, response};

/// Where the driver stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `--version`, `-print-…`: it does nothing but answer.
    Query,
    /// `-M`, `-MM`: a makefile rule in place of the preprocessed text.
    Rule,
    /// `-E`.
    Preprocess,
    /// `-S`.
    Assembly,
    /// `-c`.
    Object,
    /// None of these: all the way to a program.
    #[default]
    Link,
}

/// A source file on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As written.
    pub path: PathBuf,
    /// What it is taken for.
    pub language: Language,
}

/// What `-MD` and its family ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// System headers are listed too: `-M` and `-MD`, not `-MM` and `-MMD`.
    pub system_headers: bool,
    /// `-MF`, or the file in `-Wp,-MD,FILE`.
    pub file: Option<PathBuf>,
    /// `-MT` and `-MQ` in order, as words for a command line.
    pub targets: Vec<OsString>,
    /// `-MP`.
    pub phony: bool,
    /// Given through `-Wp,`: gcc's driver then does not know of it and names no target.
    pub passed_on: bool,
}

/// Files that are written beside the main output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideOutputs {
    /// `.gcno`: `--coverage`, `-ftest-coverage`.
    pub coverage_notes: bool,
    /// `.dwo`: `-gsplit-dwarf`.
    pub split_dwarf: bool,
    /// `.su`: `-fstack-usage`.
    pub stack_usage: bool,
    /// `.ci`: `-fcallgraph-info`.
    pub call_graph: bool,
}

/// An argument in its place, for the commands that are derived from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An option with the words it consists of, and its value.
    Option { meaning: M, words: Vec<OsString>, value: Option<OsString> },
    /// A source file.
    Source(PathBuf),
    /// A file for the linker.
    Object,
}

/// A command line, taken apart. Paths are as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Where the driver stops.
    pub mode: Mode,
    /// The sources, in order.
    pub sources: Vec<Input>,
    /// `-o`.
    pub output: Option<PathBuf>,
    /// `-iquote` directories.
    pub quote: Vec<PathBuf>,
    /// `-I` directories.
    pub include: Vec<PathBuf>,
    /// `-isystem` directories.
    pub system: Vec<PathBuf>,
    /// `-idirafter` directories.
    pub after: Vec<PathBuf>,
    /// `-include` and `-imacros` files.
    pub forced: Vec<PathBuf>,
    /// `-D` in order, as `NAME` or `NAME=VALUE`.
    pub defines: Vec<OsString>,
    /// The `-M…D` family, or the `-M` mode.
    pub dependencies: Option<Dependencies>,
    /// What is written beside.
    pub side: SideOutputs,
    /// `-emit-llvm`: LLVM's code in place of the machine's.
    pub bitcode: bool,
    /// `-MJ`: what a compilation database says of the command.
    pub fragment: Option<PathBuf>,
    /// `-fprofile-use` and its like, with the value.
    pub profile: Vec<Option<PathBuf>>,
    /// Files that options name and the compiler reads: plugins, specs, ignore lists.
    pub reads: Vec<PathBuf>,
    /// `-B` directories or prefixes.
    pub tool_prefixes: Vec<PathBuf>,
    /// `--sysroot`.
    pub sysroot: Option<PathBuf>,
    /// Response files.
    pub response_files: Vec<PathBuf>,
    /// What the linker is told, with objects and libraries in order.
    pub linker: LinkerWords,
    /// What the assembler is told.
    pub assembler: AssemblerWords,
    /// `-static`, `-static-pie`.
    pub is_static: bool,
    /// `-r`.
    pub is_relocatable: bool,
    /// Link-time optimisation is on.
    pub lto: bool,
    /// All arguments in order, without `argv[0]`.
    pub(super) parts: Vec<Part>,
}

impl CommandLine {
    /// The words of all options.
    pub(super) fn option_words(&self) -> impl Iterator<Item = &OsString> {
        self.parts.iter().flat_map(|part| match part {
            Part::Option { words, .. } => &**words,
            _ => &[],
        })
    }
}

/// Takes a command line apart.
///
/// # Errors
/// What the model does not know: an option, a language, a combination.
pub fn parse(
    compiler: Compiler,
    argv: &[OsString],
    read_response_file: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<CommandLine, Decline> {
    let Some((_, args)) = argv.split_first() else { return Err(decline("no arguments")) };
    let (args, response_files) = response::expand(args, &mut |path| Ok(read_response_file(path).ok()))?;
    if processor::is_named(&args) {
        return Err(decline(processor::REASON));
    }
    let mut parser = Parser {
        read: read_response_file,
        compiler,
        line: CommandLine { response_files, ..CommandLine::default() },
        language: None,
        linker: LinkerParser::default(),
        assembler_words: Vec::new(),
        rule: Rule::default(),
        query: false,
        verbose: false,
        stops: Vec::new(),
    };
    let mut words = args.into_iter();
    while let Some(word) = words.next() {
        parser.word(word, &mut words)?;
    }
    parser.finish()
}

struct Parser<'a> {
    read: &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    compiler: Compiler,
    line: CommandLine,
    /// `-x` in force.
    language: Option<Language>,
    linker: LinkerParser,
    assembler_words: Vec<OsString>,
    rule: Rule,
    query: bool,
    verbose: bool,
    /// The first stop asked for, in the order in which drivers look for them.
    stops: Vec<Mode>,
}

/// The `-M` family as it is collected.
#[derive(Default)]
struct Rule {
    /// `-M`, `-MM`.
    instead: Option<bool>,
    /// `-MD`, `-MMD`.
    beside: Option<bool>,
    rest: Dependencies,
}

impl Parser<'_> {
    fn word(&mut self, word: OsString, rest: &mut dyn Iterator<Item = OsString>) -> Result<(), Decline> {
        let bytes = word.as_bytes();
        match bytes {
            b"-" => return Err(decline("source on standard input")),
            [b'-', ..] => {}
            [b'@', ..] => return Err(decline(format!("{} cannot be read", word.to_string_lossy()))),
            _ => return self.file(&word),
        }
        let row = options::find(&word, self.compiler.vendor).ok_or_else(|| about(&word, "not known"))?;
        let (words, value) = attach(row, word, rest)?;
        self.option(row.meaning, &words, value.as_deref())?;
        self.line.parts.push(Part::Option { meaning: row.meaning, words, value });
        Ok(())
    }

    /// A word that is no option.
    fn file(&mut self, word: &OsStr) -> Result<(), Decline> {
        let path = PathBuf::from(word);
        let by_name = match self.language {
            Some(language) => ByName::Source(language),
            None => Language::by_name(&path, self.compiler),
        };
        match by_name {
            ByName::Foreign => Err(decline(format!("{}: a language that is not modelled", path.display()))),
            ByName::Source(language) => {
                // Its object will stand here in the link line.
                self.linker.boundary()?;
                self.line.sources.push(Input { path: path.clone(), language });
                self.line.parts.push(Part::Source(path));
                Ok(())
            }
            ByName::Object => {
                self.linker.file(path)?;
                self.line.parts.push(Part::Object);
                Ok(())
            }
        }
    }

    fn option(&mut self, meaning: M, words: &[OsString], value: Option<&OsStr>) -> Result<(), Decline> {
        let name = words.first().map_or(OsStr::new(""), OsString::as_os_str);
        let value = value.unwrap_or_default();
        let line = &mut self.line;
        match meaning {
            M::Preprocess => self.stops.push(Mode::Preprocess),
            M::Assembly => self.stops.push(Mode::Assembly),
            M::Object => self.stops.push(Mode::Object),
            M::Rule => self.rule.set_instead(name == "-M")?,
            M::RuleBeside => self.rule.set_beside(name == "-MD")?,
            M::RuleFile => self.rule.set_file(value)?,
            M::RuleTarget => self.rule.rest.targets.extend(words.iter().cloned()),
            M::RulePhony => self.rule.rest.phony = true,
            M::Output if value == "-" => return Err(decline("output to standard output")),
            M::Output if line.output.as_ref().is_some_and(|old| old.as_os_str() != value) => {
                return Err(decline("several outputs"));
            }
            M::Output => line.output = Some(value.into()),
            M::Language if value == "none" => self.language = None,
            M::Language => {
                let language = Language::by_option(value);
                self.language = Some(language.ok_or_else(|| {
                    decline(format!("language {} is not modelled", value.to_string_lossy()))
                })?);
            }
            M::Define => line.defines.push(value.to_owned()),
            M::Include => line.include.push(directory(name, value)?),
            M::Quote => line.quote.push(directory(name, value)?),
            M::System => line.system.push(directory(name, value)?),
            M::After => line.after.push(directory(name, value)?),
            M::Forced => line.forced.push(value.into()),
            M::FrontPath if name.as_bytes().starts_with(b"--sysroot") => line.sysroot = Some(value.into()),
            M::FrontFile => line.reads.push(value.into()),
            M::ToolPrefix => line.tool_prefixes.push(value.into()),
            M::PreprocessorList => self.preprocessor_list(value)?,
            M::AssemblerList => self.assembler_words.extend(passed::comma_separated(value)),
            M::AssemblerWord => self.assembler_words.push(value.to_owned()),
            M::LinkerList => {
                self.linker_words(&passed::comma_separated(value))?;
            }
            M::LinkerWord => self.linker_words(&[value.to_owned()])?,
            M::Library => {
                self.linker.boundary()?;
                self.linker.found.items.push(LinkItem::Library(value.to_owned()));
            }
            M::LibraryDir => self.linker.found.dirs.push(directory(name, value)?),
            M::LinkScript => self.linker.found.scripts.push(value.into()),
            M::Static => line.is_static = true,
            M::Relocatable => line.is_relocatable = true,
            M::Bitcode => line.bitcode = true,
            M::Fragment if value == "-" => return Err(decline("output to standard output")),
            M::Fragment => {
                set_once(&mut line.fragment, value.into(), "several parts of a compilation database")?
            }
            M::Coverage | M::CoverageNotes => line.side.coverage_notes = true,
            M::SplitDwarf => line.side.split_dwarf = true,
            M::SplitDwarfNone => line.side.split_dwarf = false,
            M::StackUsage => line.side.stack_usage = true,
            M::CallGraph => line.side.call_graph = true,
            M::ReadsFile => line.reads.push(value.into()),
            M::ProfileUse => {
                line.profile
                    .push(value.as_bytes().strip_prefix(b"=").map(|path| OsStr::from_bytes(path).into()));
            }
            M::Toolchain if name == "-fno-lto" => line.lto = false,
            M::Toolchain if name.as_bytes().starts_with(b"-flto") => line.lto = true,
            M::Query => self.query = true,
            M::Verbose => self.verbose = true,
            M::Declined(why) => return Err(about(name, why)),
            M::Macro | M::Front | M::FrontPath | M::Toolchain | M::Plain | M::Text | M::Warning => {}
            M::LinkToolchain | M::LinkPlain | M::Shared => {}
        }
        Ok(())
    }

    /// Words for the linker, which has response files of its own.
    fn linker_words(&mut self, words: &[OsString]) -> Result<(), Decline> {
        let (words, files) = response::expand(words, &mut |path| Ok((self.read)(path).ok()))?;
        self.line.response_files.extend(files);
        words.iter().try_for_each(|word| self.linker.word(word))
    }

    /// `-Wp,…`: the words go to the preprocessor. The Linux kernel gives its dependency file so.
    fn preprocessor_list(&mut self, list: &OsStr) -> Result<(), Decline> {
        let words = passed::comma_separated(list);
        let mut words = words.iter();
        let rule = &mut self.rule;
        while let Some(word) = words.next() {
            let missing = || about(word, "for the preprocessor, without its value");
            match word.as_bytes() {
                b"-MD" | b"-MMD" => {
                    rule.set_beside(word == "-MD")?;
                    rule.set_file(words.next().ok_or_else(missing)?)?;
                    rule.rest.passed_on = true;
                }
                b"-MT" | b"-MQ" => {
                    rule.rest.targets.extend([word.clone(), words.next().ok_or_else(missing)?.clone()]);
                }
                b"-MP" => rule.rest.phony = true,
                [b'-', b'D', define @ ..] if !define.is_empty() => {
                    self.line.defines.push(OsStr::from_bytes(define).to_owned());
                }
                [b'-', b'U', name @ ..] if !name.is_empty() => {}
                b"-w" | b"-P" => {}
                _ => return Err(about(word, "for the preprocessor")),
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<CommandLine, Decline> {
        let Parser { mut line, linker, assembler_words, rule, stops, query, verbose, .. } = self;
        line.linker = linker.finish()?;
        line.assembler = passed::assembler_words(&assembler_words)?;
        let first = |mode| stops.contains(&mode).then_some(mode);
        line.mode = if query || verbose && line.sources.is_empty() && line.linker.items.is_empty() {
            Mode::Query
        } else if rule.instead.is_some() {
            Mode::Rule
        } else {
            first(Mode::Preprocess).or(first(Mode::Assembly)).or(first(Mode::Object)).unwrap_or_default()
        };
        if line.mode == Mode::Query {
            return Ok(line);
        }
        let headers = line.sources.iter().filter(|source| source.language.is_header()).count();
        if headers > 0 && line.mode == Mode::Link {
            // With nothing but headers there is nothing to link.
            if headers < line.sources.len() || !line.linker.items.is_empty() {
                return Err(decline("a header among sources to link"));
            }
            line.mode = Mode::Object;
        }
        if verbose {
            return Err(decline("option -v: prints beside its work"));
        }
        let compiles = matches!(line.mode, Mode::Object | Mode::Assembly);
        let assembles = line.sources.iter().any(|source| source.language.is_assembler());
        if line.fragment.is_some() && (!compiles || assembles) {
            // It names temporary files where there is a link, and is not written for what is only assembled.
            return Err(decline("option -MJ: of another command than a compile"));
        }
        if line.bitcode && (!compiles || assembles) {
            return Err(decline("option -emit-llvm: of another command than a compile"));
        }
        line.dependencies = rule.finish()?;
        Ok(line)
    }
}

impl Rule {
    fn set_instead(&mut self, system: bool) -> Result<(), Decline> {
        set_once(&mut self.instead, system, "both -M and -MM")
    }

    fn set_beside(&mut self, system: bool) -> Result<(), Decline> {
        set_once(&mut self.beside, system, "both -MD and -MMD")
    }

    fn set_file(&mut self, file: &OsStr) -> Result<(), Decline> {
        if file == "-" {
            return Err(decline("dependencies to standard output"));
        }
        set_once(&mut self.rest.file, file.into(), "several dependency files")
    }

    fn finish(self) -> Result<Option<Dependencies>, Decline> {
        let system_headers = match (self.instead, self.beside) {
            (Some(_), Some(_)) => return Err(decline("both -M and -MD")),
            (Some(system), None) | (None, Some(system)) => system,
            (None, None) if self.rest == Dependencies::default() => return Ok(None),
            (None, None) => return Err(decline("-MF, -MT or -MP without -MD")),
        };
        Ok(Some(Dependencies { system_headers, ..self.rest }))
    }
}

fn set_once<T: PartialEq>(slot: &mut Option<T>, value: T, otherwise: &str) -> Result<(), Decline> {
    match slot {
        Some(old) if *old != value => Err(decline(otherwise)),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// A directory given by an option. A leading `=` or `$SYSROOT` stands for the system root, which only the compiler
/// knows for sure.
fn directory(option: &OsStr, value: &OsStr) -> Result<PathBuf, Decline> {
    if value.as_bytes().starts_with(b"=") || value.as_bytes().starts_with(b"$SYSROOT") {
        return Err(about(option, "a directory below the system root"));
    }
    Ok(value.into())
}

/// Takes the argument of an option from the rest of its word or from the next word.
pub(super) fn attach(
    row: &Row,
    word: OsString,
    rest: &mut dyn Iterator<Item = OsString>,
) -> Result<(Vec<OsString>, Option<OsString>), Decline> {
    let joined = word.as_bytes().get(row.name.len()..).unwrap_or_default();
    let joined = match row.shape {
        Shape::Flag => return Ok((vec![word], None)),
        Shape::Joined => Some(joined),
        Shape::Equals => joined.strip_prefix(b"="),
        Shape::Either if !joined.is_empty() => Some(joined),
        Shape::Either | Shape::Separate => None,
    };
    match joined {
        Some(value) => {
            let value = OsStr::from_bytes(value).to_owned();
            Ok((vec![word], Some(value)))
        }
        None => {
            let value = rest.next().ok_or_else(|| about(&word, "without its value"))?;
            Ok((vec![word, value.clone()], Some(value)))
        }
    }
}
