# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# How each project of sources.list is configured, built and tried: the one table that comparisons and benchmarks use.
# Sourced after lib.sh.
#
# A project is these variables, with commands that are run in its tree:
#   source     its name in sources.list
#   configure  makes it ready to build; never traced. Empty where there is nothing to do.
#   build      one command, JOBS stands for the number of jobs: this is what is recorded.
#   check      runs what was built.
#   floor      make variables that replace every tool by one that does nothing: nothing can be recorded faster.
#   idle       a command that does so in the configured tree, for what variables do not reach.

# What all FFmpeg configurations here share: nothing that depends on the libraries of this machine.
ffmpeg_base='./configure --disable-x86asm --disable-doc --disable-autodetect'

# CMake writes the paths of its tools into all that it generates.
cmake_idle='find build -name build.make -o -name link.txt -o -name rules.ninja | xargs sed -i -E "s,/usr/bin/(c\+\+|cc|ar|ranlib) ,/bin/true ,"'

project_names='lua luajit zlib mosh cmark ffmpeg ffmpeg-third fmt bash openssl git redis tcl xz libtorrent libtorrent-cmake'

# project NAME: sets the variables.
project() {
    source=$1 configure='' build='make -jJOBS' check='' idle='' floor='CC=true CXX=true AR=true RANLIB=true STRIP=true LD=true'
    case $1 in
        # One makefile, a static library, two programs.
        lua)
            build='make -jJOBS generic'
            check='src/lua -v'
            ;;
        # Compiles and runs generators of its own (minilua, buildvm).
        luajit) check='src/luajit -v' ;;
        # A configure script by hand; static and shared library, 64-bit variants of the test programs.
        zlib)
            configure='./configure'
            check='./example'
            ;;
        # autotools, C++, protobuf.
        mosh)
            configure='./configure'
            check='src/frontend/mosh-server --version'
            # Makes with automake move a dependency file for each object, and want archives to be there.
            floor='CC=true CXX=true AR=touch RANLIB=true am__mv=true'
            ;;
        # CMake, Ninja, a shared library beside a static one.
        cmark)
            configure='cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release'
            build='ninja -C build -jJOBS'
            check='build/src/cmark --version'
            floor='' idle=$cmake_idle
            ;;
        # Large: some 2,000 compiles.
        ffmpeg)
            configure=$ffmpeg_base
            check='./ffmpeg -version'
            ;;
        # The same build with a third of the compiles.
        ffmpeg-third)
            source=ffmpeg
            configure="$ffmpeg_base --disable-everything --disable-network --disable-avdevice
                --enable-decoder=aac,ac3,alac,ape,cinepak,dca,dnxhd,eac3,ffv1,flac,gif,h264,hevc,jpeg2000,mjpeg,mp3
                --enable-decoder=mpeg2video,mpeg4,opus,pcm_s16le,png,prores,rv40,theora,tiff,tta,vc1,vorbis,vp8,vp9,webp,wmav2,wmv3
                --enable-encoder=aac,flac,mjpeg,mpeg4,pcm_s16le,rawvideo
                --enable-demuxer=aac,ape,avi,flac,gif,image2,matroska,mov,mp3,mpegts,ogg,wav
                --enable-muxer=flac,matroska,mov,mp4,null,wav
                --enable-parser=aac,h264,hevc,mpegaudio,mpegvideo,vp8,vp9
                --enable-filter=aformat,anull,aresample,crop,format,null,overlay,scale,testsrc,trim,volume
                --enable-protocol=file,pipe"
            check='./ffmpeg -version'
            ;;
        # CMake, makefiles, C++ with heavy templates, tests that link many programs.
        fmt)
            # The tarball is Debian's, without the bundled copy of googletest: the packaged sources stand in for it.
            configure='mkdir -p test/gtest; for line in "add_library(gtest STATIC $0/googletest/src/gtest-all.cc $0/googlemock/src/gmock-all.cc)"
                "target_include_directories(gtest PUBLIC $0/googletest/include $0/googlemock/include PRIVATE $0/googletest $0/googlemock)";
                do echo "$line"; done >test/gtest/CMakeLists.txt; cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DFMT_DOC=OFF'
            configure=${configure//\$0//usr/src/googletest}
            build='make -C build -jJOBS'
            check='build/bin/core-test --gtest_brief=1 | sed "s/ (.* ms total)//"'
            floor='' idle=$cmake_idle
            ;;
        # autoconf; compiles and runs generators of its own (mkbuiltins, mksyntax); many small libraries.
        bash)
            configure='./configure'
            check='./bash --version'
            ;;
        # perl Configure; generated headers and assembler; the date goes into a header.
        openssl)
            configure='perl Configure linux-x86_64 no-shared no-module no-legacy no-tests no-docs'
            build='env SOURCE_DATE_EPOCH=0 make -jJOBS build_sw'
            check='apps/openssl version'
            ;;
        # One large makefile by hand, with stamps, generated headers, scripts, and hard links among its results.
        git)
            build='make -jJOBS NO_GETTEXT=1 NO_CURL=1 NO_EXPAT=1 NO_TCLTK=1 NO_PYTHON=1 NO_OPENSSL=1'
            check='./git --version'
            ;;
        # Recursive make by hand, bundled dependencies; the date goes into a header.
        redis)
            build='env SOURCE_DATE_EPOCH=0 make -jJOBS MALLOC=libc'
            check='src/redis-server --version'
            ;;
        # autoconf outside of the top folder; the result zips its own scripts and runs itself.
        tcl)
            configure='cd unix && ./configure'
            build='make -C unix -jJOBS'
            check='cd unix && echo "puts [info patchlevel]" | TCL_LIBRARY=../library LD_LIBRARY_PATH=. ./tclsh'
            ;;
        # autotools with a recent libtool: every source of the library is compiled twice, shared and static.
        xz)
            configure='./configure'
            check='src/xz/xz --version'
            ;;
        # C++ on top of Boost: some 1,000 headers for each of 139 compiles, by rules that make has of its own: make starts the compiler and
        # nothing else.
        libtorrent)
            configure="printf '%s\n' 'CXXFLAGS = -std=c++17 -O1'
                'CPPFLAGS = -Iinclude -Iinclude/libtorrent -Ideps/try_signal -DTORRENT_BUILDING_LIBRARY -DTORRENT_USE_OPENSSL -DTORRENT_USE_LIBCRYPTO -DTORRENT_SSL_PEERS -DBOOST_ASIO_ENABLE_CANCELIO -DBOOST_ASIO_NO_DEPRECATED -D_FILE_OFFSET_BITS=64'
                'sources := \$(wildcard src/*.cpp src/ed25519/*.cpp deps/try_signal/try_signal.cpp deps/try_signal/signal_error_code.cpp)'
                'libtorrent.a: \$(sources:.cpp=.o); \$(AR) crs \$@ \$^' >GNUmakefile"
            check='ar t libtorrent.a | wc -l'
            ;;
        # The same as people build it.
        libtorrent-cmake)
            source=libtorrent
            configure='cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF'
            build='make -C build -jJOBS'
            check='ar t build/libtorrent-rasterbar.a | wc -l'
            floor='' idle=$cmake_idle
            ;;
        *) die "unknown project $1 (known: $project_names)" ;;
    esac
    configure=$(tr -s ' \n' ' ' <<<"$configure")
    configure=${configure% }
}

# Reads a pristine tree into DIR, which must not exist.
project_fetch() {
    local from
    from=$("$scripts/fetch-sources" "$source" | cut -f 2)
    cp -a "$from" "$1"
}

project_configure() { [ -z "$configure" ] || (cd "$1" && bash -ec "$configure"); }

# project_build DIR JOBS [RECORDER…]: the build command, under a recorder if one is given.
project_build() {
    local dir=$1 jobs=$2 command
    shift 2
    read -ra command <<<"${build//JOBS/$jobs}"
    (cd "$dir" && "$@" "${command[@]}")
}

project_check() { (cd "$1" && bash -ec "$check"); }
