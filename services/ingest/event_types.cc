#include "services/ingest/event_types.h"

#include <algorithm>

#include "common/clock/duration.h"
#include "common/log/log.h"
#include "common/status/status.h"
#include "naru/catalog/v1/resources.pb.h"

namespace naru::ingest {
namespace {

std::shared_ptr<const CompiledType> CompileType(std::shared_ptr<const catalog::v1::Resource> resource) {
  auto type = std::make_shared<CompiledType>();
  const catalog::v1::EventType& spec = resource->event_type();
  type->version = resource->metadata().version();
  type->drops_unknown = spec.unknown_fields() == "drop";
  type->by_session = spec.partition_by() == "session";
  const auto window = ParseDuration(spec.deduplication_window());
  if (window.ok()) type->window_s = static_cast<uint32_t>(std::max<int64_t>(0, window->count() / 1'000'000));
  const auto retention = ParseDuration(spec.retention());
  if (retention.ok()) type->retention = *retention;
  absl::StatusOr<event::TypeSchema> schema = event::TypeSchema::Compile(spec);
  if (schema.ok()) type->schema = std::make_unique<event::TypeSchema>(*std::move(schema));
  // Applying checks all this, so a failure means that a newer release wrote it: events are worth more than a check.
  if (!schema.ok()) {
    NARU_LOG(ERROR, "event type cannot be compiled; its events are taken unchecked",
             {{"type", resource->metadata().name()}, {"error", schema.status()}});
  }
  if (!spec.exclude().empty()) {
    auto environment = std::make_unique<cel::Environment>(cel::Environment::ForEvents());
    absl::StatusOr<cel::Program> exclude = environment->Compile(spec.exclude(), {.filter = true});
    if (exclude.ok()) {
      type->exclude = *std::move(exclude);
      type->environment = std::move(environment);
    } else {
      NARU_LOG(ERROR, "exclude of an event type cannot be compiled; nothing is excluded",
               {{"type", resource->metadata().name()}, {"error", exclude.status()}});
    }
  }
  type->resource = std::move(resource);
  return type;
}

}  // namespace

std::shared_ptr<const TypeTable> TypeTable::Compile(const catalog::Snapshot& snapshot, const TypeTable* before) {
  auto table = std::make_shared<TypeTable>();
  for (const catalog::v1::Resource* resource : snapshot.List("EventType")) {
    const std::string& name = resource->metadata().name();
    std::shared_ptr<const CompiledType> type;
    if (before != nullptr) {
      const auto it = before->types_.find(name);
      if (it != before->types_.end() && it->second->resource.get() == resource) type = it->second;
    }
    if (type == nullptr) type = CompileType(snapshot.FindShared("EventType", name));
    table->longest_retention_ = std::max(table->longest_retention_, type->retention);
    table->longest_window_ = std::max(table->longest_window_, std::chrono::seconds(type->window_s));
    table->types_.emplace(name, std::move(type));
  }
  return table;
}

}  // namespace naru::ingest
