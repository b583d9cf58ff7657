# Language level, warnings, sanitizers, compiler cache and linker. Nothing here is directory-wide except what the
# whole program must share (the standard, position independence, sanitizers); warnings go on through naru_options.

set(NARU_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")
option(NARU_FUZZ "Build the fuzzers against libFuzzer (clang only)" OFF)
option(NARU_WERROR "Treat warnings as errors" OFF)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")       # assertions stay on: a broken invariant must stop, not corrupt
set(NARU_COLD_FLAGS $<$<CONFIG:Release>:-O1>)  # for what no event passes through
# Tests under a sanitizer are compiled as they are, in half the time; what they test is optimised a little.
set(NARU_TEST_FLAGS $<IF:$<CONFIG:Release>,-O1,-O0>)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")     # line tables are enough for sanitizer reports and build twice as fast

find_program(NARU_CCACHE ccache)
if(NARU_CCACHE)
  # Paths are taken relative to the checkout, so that every build directory and clone shares the cache.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${NARU_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

find_program(NARU_MOLD mold)
find_program(NARU_LLD NAMES ld.lld ld.lld-14)
if(NARU_MOLD)
  add_link_options(-fuse-ld=mold)
elseif(NARU_LLD)
  add_link_options(-fuse-ld=lld)
endif()
add_link_options(-Wl,--as-needed)

if(NARU_SANITIZE)
  add_compile_options(-fsanitize=${NARU_SANITIZE} -fno-omit-frame-pointer)
  if(NARU_SANITIZE MATCHES "address")
    # What these find AddressSanitizer finds as well, or x86 does not mind; without them a build takes half the time.
    add_compile_options(-fno-sanitize=null,object-size,vptr,alignment,nonnull-attribute,returns-nonnull-attribute)
  endif()
  add_link_options(-fsanitize=${NARU_SANITIZE})
endif()
if(NARU_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(naru_options INTERFACE)
# -pthread everywhere: it defines a macro, and precompiled headers want the same macros in all that use them.
target_compile_options(naru_options INTERFACE -pthread -Wall -Wextra -Wno-sign-compare -Wno-missing-field-initializers
  $<$<BOOL:${NARU_WERROR}>:-Werror> $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
target_include_directories(naru_options INTERFACE ${CMAKE_SOURCE_DIR})
