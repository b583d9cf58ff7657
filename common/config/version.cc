#include "common/config/version.h"

namespace naru {

const char* Version() { return NARU_VERSION; }

}  // namespace naru
