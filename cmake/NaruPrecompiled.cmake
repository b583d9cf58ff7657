# Precompiled headers, which halve the time of a full build. One is made for each of the kinds below and shared by all
# targets of that kind. They hold system headers and what protoc generates, so a change of a header of Naru's own makes
# no file compile again that does not include it. A file still includes what it uses: the clang preset builds without
# them.
option(NARU_PRECOMPILED_HEADERS "Build with precompiled headers" ON)

# The kinds: core and test for plain code, grpc and grpc_test for what speaks gRPC, generated for what protoc makes.
if(NARU_PRECOMPILED_HEADERS)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)  # for ccache
  endif()
  file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cc "")
  foreach(kind core generated grpc test grpc_test)
    add_library(naru_pch_${kind} OBJECT EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/pch/empty.cc)
    target_link_libraries(naru_pch_${kind} PRIVATE naru_options absl::btree absl::flat_hash_map absl::statusor
      absl::strings absl::time)
    target_precompile_headers(naru_pch_${kind} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch/${kind}.h)
  endforeach()
  target_link_libraries(naru_pch_generated PRIVATE gRPC::grpc++ protobuf::libprotobuf)
  foreach(kind grpc grpc_test)
    target_link_libraries(naru_pch_${kind} PRIVATE naru::proto)
  endforeach()
  foreach(kind test grpc_test)
    target_link_libraries(naru_pch_${kind} PRIVATE GTest::gmock)
    # A precompiled header is used only where both have the same level of optimisation.
    target_compile_options(naru_pch_${kind} PRIVATE $<$<CONFIG:Debug>:${NARU_TEST_FLAGS}>)
  endforeach()
endif()

# Lets `target` use the precompiled headers of that kind.
function(naru_use_precompiled target kind)
  if(NARU_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} REUSE_FROM naru_pch_${kind})
  endif()
endfunction()

# Files that include the same heavy headers are compiled several at a time, which halves it again. Names that are local
# to a file (in its anonymous namespace) must then differ within a target; a file that cannot do so sets
# SKIP_UNITY_BUILD_INCLUSION.
option(NARU_UNITY "Compile the files of a target several at a time" ON)

function(naru_compile_together target)
  if(NARU_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()
