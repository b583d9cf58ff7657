# Precompiled headers, which halve the time of a full build. One is made for each of the kinds below and shared by all
# targets of that kind. They hold system headers alone, so nothing is built again because of them. A file still includes
# what it uses: the clang preset builds without them.
option(NARU_PRECOMPILED_HEADERS "Build with precompiled headers" ON)

if(NARU_PRECOMPILED_HEADERS)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)  # for ccache
  endif()
  file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cc "")
  foreach(kind core grpc test)
    add_library(naru_pch_${kind} OBJECT EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/pch/empty.cc)
    target_link_libraries(naru_pch_${kind} PRIVATE naru_options)
    target_precompile_headers(naru_pch_${kind} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch/${kind}.h)
  endforeach()
  target_link_libraries(naru_pch_core PRIVATE absl::btree absl::flat_hash_map absl::statusor absl::strings absl::time)
  target_link_libraries(naru_pch_grpc PRIVATE gRPC::grpc++ protobuf::libprotobuf)
  target_link_libraries(naru_pch_test PRIVATE absl::btree absl::flat_hash_map absl::statusor absl::strings absl::time
    GTest::gmock)
  target_compile_options(naru_pch_test PRIVATE $<$<CONFIG:Debug>:${NARU_TEST_FLAGS}>)  # used only where both have the same
endif()

# Lets `target` use the precompiled headers of that kind: core, grpc, test.
function(naru_use_precompiled target kind)
  if(NARU_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} REUSE_FROM naru_pch_${kind})
  endif()
endfunction()
