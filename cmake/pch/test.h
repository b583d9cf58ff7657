// For tests.
#include "cmake/pch/core.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
