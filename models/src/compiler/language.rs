// SPDX-License-Identifier: Apache-2.0
//! The languages of source files: by `-x`, or by the end of the file's name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::command_line::Mode;
use super::{Compiler, Vendor};

/// What a source file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// C.
    C,
    /// C++.
    Cxx,
    /// Objective-C.
    ObjC,
    /// Objective-C++.
    ObjCxx,
    /// C, preprocessed.
    CppOutput,
    /// C++, preprocessed.
    CxxCppOutput,
    /// A C header that is compiled on its own.
    CHeader,
    /// A C++ header that is compiled on its own.
    CxxHeader,
    /// Assembler text.
    Assembler,
    /// Assembler text that is preprocessed.
    AssemblerWithCpp,
}

use Language as L;

/// Each language with its name for `-x` and a suffix of its own.
const NAMES: &[(Language, &str, &str)] = &[
    (L::C, "c", "c"),
    (L::Cxx, "c++", "cc"),
    (L::ObjC, "objective-c", "m"),
    (L::ObjCxx, "objective-c++", "mm"),
    (L::CppOutput, "cpp-output", "i"),
    (L::CxxCppOutput, "c++-cpp-output", "ii"),
    (L::CHeader, "c-header", "h"),
    (L::CxxHeader, "c++-header", "hh"),
    (L::Assembler, "assembler", "s"),
    (L::AssemblerWithCpp, "assembler-with-cpp", "S"),
];

/// What the end of a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByName {
    Source(Language),
    /// A language that is not modelled.
    Foreign,
    /// For the linker.
    Object,
}

impl Language {
    /// The language that `-x NAME` means.
    pub(super) fn by_option(name: &OsStr) -> Option<Language> {
        NAMES.iter().find(|row| OsStr::new(row.1) == name).map(|row| row.0)
    }

    /// What a driver takes a file of this name for. The C++ drivers take C for C++.
    pub(super) fn by_name(path: &Path, driver: Compiler) -> ByName {
        let suffix = path.extension().map(OsStrExt::as_bytes);
        let language = match suffix {
            // What only one of them knows is for the linker to the other.
            Some(b"sx" | b"hp" | b"HPP" | b"h++" | b"tcc") if driver.vendor == Vendor::Clang => {
                return ByName::Object;
            }
            Some(b"CC" | b"C++" | b"CXX") if driver.vendor == Vendor::Clang => L::Cxx,
            Some(b"c") => L::C,
            Some(b"cc" | b"cp" | b"cxx" | b"cpp" | b"CPP" | b"c++" | b"C") => L::Cxx,
            Some(b"m") => L::ObjC,
            Some(b"mm" | b"M") => L::ObjCxx,
            Some(b"i") => L::CppOutput,
            Some(b"ii") => L::CxxCppOutput,
            Some(b"h") => L::CHeader,
            Some(b"hh" | b"H" | b"hp" | b"hxx" | b"hpp" | b"HPP" | b"h++" | b"tcc") => L::CxxHeader,
            Some(b"s") => L::Assembler,
            Some(b"S" | b"sx") => L::AssemblerWithCpp,
            Some(
                b"mi" | b"mii" | b"f" | b"for" | b"ftn" | b"F" | b"FOR" | b"fpp" | b"FPP" | b"FTN" | b"f90"
                | b"F90" | b"f95" | b"F95" | b"f03" | b"F03" | b"f08" | b"F08" | b"go" | b"d" | b"di" | b"dd"
                | b"adb" | b"ads" | b"cu" | b"cui" | b"hip" | b"cl" | b"ll" | b"bc" | b"pcm" | b"cppm"
                | b"ccm" | b"cxxm" | b"c++m" | b"iim" | b"ixx" | b"ast" | b"asm" | b"rs" | b"mod",
            ) => return ByName::Foreign,
            _ => return ByName::Object,
        };
        ByName::Source(match language {
            L::C if driver.cxx => L::Cxx,
            L::CppOutput if driver.cxx => L::CxxCppOutput,
            L::CHeader if driver.cxx => L::CxxHeader,
            other => other,
        })
    }

    /// Its name for `-x`.
    #[must_use]
    pub fn option(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("none", |row| row.1)
    }

    /// The suffix by which a driver knows it.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }

    /// Is the text run through the preprocessor?
    #[must_use]
    pub fn is_preprocessed(self) -> bool {
        !matches!(self, L::CppOutput | L::CxxCppOutput | L::Assembler)
    }

    /// Does a driver that stops there write an output for such a source? What is preprocessed already it does not preprocess
    /// again, and of assembler text it makes no assembler text: it ends well and writes nothing, or to standard output. Of a
    /// header gcc makes both kinds of output then.
    pub(super) fn reaches(self, mode: Mode) -> bool {
        match mode {
            Mode::Preprocess | Mode::Rule => self.is_preprocessed(),
            Mode::Assembly => !self.is_assembler() && !self.is_header(),
            Mode::Object | Mode::Link | Mode::Query => true,
        }
    }

    /// Is the text handed to the assembler as it is?
    #[must_use]
    pub fn is_assembler(self) -> bool {
        matches!(self, L::Assembler | L::AssemblerWithCpp)
    }

    /// Is it a header, which compiles to a precompiled one?
    #[must_use]
    pub fn is_header(self) -> bool {
        matches!(self, L::CHeader | L::CxxHeader)
    }
}
