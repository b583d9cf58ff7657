// Which Naru this is.
#pragma once

namespace naru {

/// `0.1.0`: the version of the project that this was built from.
const char* Version();

}  // namespace naru
