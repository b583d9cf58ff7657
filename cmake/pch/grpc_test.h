// For tests of what speaks gRPC and Protobuf.
#include "cmake/pch/grpc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
