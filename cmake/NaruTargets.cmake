# The three kinds of target of this tree. Sources are listed explicitly; a target `naru_x` has the alias `naru::x`.
#
#   naru_add_library(clock SRCS a.cc DEPS absl::time TESTS a_test.cc [TEST_DEPS ...] [TEST_LABELS unit] [ASAN])
#       The library naru::clock; its tests become one program and one ctest entry, clock_test.
#       COLD: not on the way of an event; built with less optimisation, as tests are, which takes half the time.
#       GRPC: most of its files include gRPC or Protobuf (cmake/NaruPrecompiled.cmake).
#       ASAN: the tests also belong to the target asan_tests (built and run under the dev preset by scripts/test).
#   naru_add_test(event_log_kafka_test SRCS ... DEPS ... LABELS kafka [TIMEOUT 300] [ASAN] [GRPC])
#       A test program of its own.
#   naru_add_service(ingest SRCS ... DEPS ... MAIN main.cc TESTS ...)
#       The library naru::ingest_service and the program naru-ingest. A service may not link another service.
#   naru_add_fuzzer(event_fuzz SRC event_fuzz.cc DEPS ... CORPUS dir)
#       A replay of the corpus as a test in every build; a libFuzzer program under the fuzz preset.

set_property(GLOBAL PROPERTY NARU_ASAN_TESTS "")
set_property(GLOBAL PROPERTY NARU_ASAN_CTEST "")

# Notes a test that belongs to asan_tests, and its lines in build/<preset>/asan/CTestTestfile.cmake, which scripts/test
# runs together with the release build's tests.
function(naru_register_asan_test name timeout env)
  set_property(GLOBAL APPEND PROPERTY NARU_ASAN_TESTS ${name})
  set_property(GLOBAL APPEND_STRING PROPERTY NARU_ASAN_CTEST
    "add_test([=[asan.${name}]=] [=[${CMAKE_BINARY_DIR}/tests/${name}]=]"
    )
  foreach(arg ${ARGN})
    set_property(GLOBAL APPEND_STRING PROPERTY NARU_ASAN_CTEST " [=[${arg}]=]")
  endforeach()
  set_property(GLOBAL APPEND_STRING PROPERTY NARU_ASAN_CTEST
    ")\nset_tests_properties([=[asan.${name}]=] PROPERTIES LABELS asan TIMEOUT ${timeout} ENVIRONMENT [=[${env}]=])\n")
endfunction()

# Links a program with jemalloc where that is installed and no sanitizer wants the allocator for itself.
function(naru_use_allocator program)
  if(TARGET naru_allocator)
    target_sources(${program} PRIVATE $<TARGET_OBJECTS:naru_allocator>)
    target_link_options(${program} PRIVATE -Wl,--push-state,--no-as-needed -ljemalloc -Wl,--pop-state)
  endif()
endfunction()

function(naru_add_test name)
  cmake_parse_arguments(T "ASAN;GRPC" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${T_SRCS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE naru_options ${T_DEPS} GTest::gmock GTest::gtest_main)
  if(T_GRPC)
    naru_use_precompiled(${name} grpc_test)
  else()
    naru_use_precompiled(${name} test)
  endif()
  target_compile_options(${name} PRIVATE ${NARU_TEST_FLAGS})
  add_test(NAME ${name} COMMAND ${name})
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  set(env "NARU_SOURCE_DIR=${CMAKE_SOURCE_DIR}" "NARU_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
      # The distribution's libraries are not instrumented, which container-overflow checks do not survive.
      "ASAN_OPTIONS=detect_container_overflow=0:detect_leaks=1:abort_on_error=1"
      "LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0"
      "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
      "TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1")
  if(T_ASAN)
    list(APPEND T_LABELS asan)
    naru_register_asan_test(${name} ${T_TIMEOUT} "${env}")
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT} ENVIRONMENT "${env}")
endfunction()

function(naru_add_library name)
  cmake_parse_arguments(L "ASAN;COLD;GRPC" "" "SRCS;DEPS;PRIVATE_DEPS;TESTS;TEST_DEPS;TEST_LABELS" ${ARGN})
  if(L_SRCS)
    add_library(naru_${name} STATIC ${L_SRCS})
    target_link_libraries(naru_${name} PUBLIC naru_options ${L_DEPS} PRIVATE ${L_PRIVATE_DEPS})
    if(L_COLD)
      target_compile_options(naru_${name} PRIVATE ${NARU_COLD_FLAGS})
    endif()
    if(L_GRPC)
      naru_compile_together(naru_${name})
      naru_use_precompiled(naru_${name} grpc)
    else()
      naru_use_precompiled(naru_${name} core)
    endif()
  else()
    add_library(naru_${name} INTERFACE)
    target_link_libraries(naru_${name} INTERFACE naru_options ${L_DEPS})
  endif()
  add_library(naru::${name} ALIAS naru_${name})
  if(L_TESTS)
    set(flags)
    foreach(flag ASAN GRPC)
      if(L_${flag})
        list(APPEND flags ${flag})
      endif()
    endforeach()
    naru_add_test(${name}_test SRCS ${L_TESTS} DEPS naru::${name} ${L_TEST_DEPS} LABELS ${L_TEST_LABELS} ${flags})
  endif()
endfunction()

function(naru_add_service name)
  cmake_parse_arguments(S "ASAN" "MAIN" "SRCS;DEPS;TESTS;TEST_DEPS;TEST_LABELS" ${ARGN})
  foreach(dep ${S_DEPS})
    if(dep MATCHES "^naru::.*_service$")
      message(FATAL_ERROR "service ${name} depends on ${dep}: services meet in RPCs and topics alone")
    endif()
  endforeach()
  set(asan)
  if(S_ASAN)
    set(asan ASAN)
  endif()
  naru_add_library(${name}_service SRCS ${S_SRCS} DEPS ${S_DEPS} TESTS ${S_TESTS} TEST_DEPS ${S_TEST_DEPS}
                   TEST_LABELS ${S_TEST_LABELS} GRPC ${asan})
  if(S_MAIN)
    string(REPLACE "_" "-" program ${name})
    add_executable(naru-${program} ${S_MAIN})
    target_link_libraries(naru-${program} PRIVATE naru::${name}_service)
    naru_use_precompiled(naru-${program} grpc)
    naru_use_allocator(naru-${program})
  endif()
endfunction()

function(naru_add_fuzzer name)
  cmake_parse_arguments(F "" "SRC;CORPUS" "DEPS" ${ARGN})
  if(NARU_FUZZ)
    add_executable(${name} ${F_SRC})
    target_link_libraries(${name} PRIVATE naru_options ${F_DEPS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    return()
  endif()
  add_executable(${name}_replay ${F_SRC} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.cc)
  set_target_properties(${name}_replay PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name}_replay PRIVATE naru_options ${F_DEPS})
  get_filename_component(corpus ${F_CORPUS} ABSOLUTE)
  add_test(NAME ${name}_replay COMMAND ${name}_replay ${corpus})
  set(env "ASAN_OPTIONS=detect_container_overflow=0:abort_on_error=1"
      "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
      "LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0")
  set_tests_properties(${name}_replay PROPERTIES LABELS "unit;fuzz;asan" TIMEOUT 300 ENVIRONMENT "${env}")
  naru_register_asan_test(${name}_replay 300 "${env}" ${corpus})
endfunction()

function(naru_finish_asan_target)
  get_property(tests GLOBAL PROPERTY NARU_ASAN_TESTS)
  get_property(lines GLOBAL PROPERTY NARU_ASAN_CTEST)
  add_custom_target(asan_tests DEPENDS ${tests})
  file(WRITE ${CMAKE_BINARY_DIR}/asan/CTestTestfile.cmake "${lines}")
endfunction()
