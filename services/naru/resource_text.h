// Resources as JSON, and their one-line descriptions.
#pragma once

#include <string>

namespace naru::catalog::v1 {
class Resource;
}

namespace naru::cli {

/// {"apiVersion":..,"kind":..,"metadata":{..},"spec":{..},"tests":[..]}: the JSON form of the YAML document.
std::string ResourceJson(const catalog::v1::Resource& resource);

/// spec.description, empty where there is none.
std::string DescriptionOf(const catalog::v1::Resource& resource);

}  // namespace naru::cli
