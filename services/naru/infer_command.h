// The command `naru infer`.
#pragma once

#include "services/naru/command.h"

namespace naru::cli {

CommandEntry InferEntry();

}  // namespace naru::cli
