// Files that the build puts into the program.
#pragma once

#include <cstddef>

namespace naru::catalog {

/// A file's name (without directory) and bytes. The end of an array of them has an empty name.
struct EmbeddedFile {
  const char* name;
  const unsigned char* bytes;
  size_t size;
};

/// The YAML files of common/catalog/builtin.
extern const EmbeddedFile kBuiltinFiles[];
/// One file: the encoded FileDescriptorSet of resources.proto, comments included.
extern const EmbeddedFile kResourceDescriptors[];

}  // namespace naru::catalog
