// For what speaks gRPC and Protobuf: with Naru's own messages, which half of its files include.
#include "cmake/pch/generated.h"

#include "naru/aggregator/v1/aggregator.grpc.pb.h"
#include "naru/aggregator/v1/sink_state.pb.h"
#include "naru/catalog/v1/catalog.grpc.pb.h"
#include "naru/catalog/v1/resources.pb.h"
#include "naru/event/v1/event.pb.h"
#include "naru/ingest/v1/ingest.grpc.pb.h"
#include "naru/ingest/v1/ledger.pb.h"
