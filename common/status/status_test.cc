#include "common/status/status.h"

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/status/grpc_status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace naru {
namespace {

ErrorDetails FullDetails() {
  ErrorDetails details;
  details.reason = "EVENT_INVALID";
  details.domain = "ingest.naru.dev";
  details.metadata = {{"limit", "256"}, {"empty", ""}};
  details.violations = {{"events[3].time", "`x` is not a time"}, {"events[4].id", ""}};
  details.retry_after = std::chrono::milliseconds(1500);
  return details;
}

void ExpectSame(const ErrorDetails& a, const ErrorDetails& b) {
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.domain, b.domain);
  EXPECT_EQ(a.metadata, b.metadata);
  EXPECT_EQ(a.retry_after, b.retry_after);
  ASSERT_EQ(a.violations.size(), b.violations.size());
  for (size_t i = 0; i < a.violations.size(); ++i) {
    EXPECT_EQ(a.violations[i].field, b.violations[i].field);
    EXPECT_EQ(a.violations[i].description, b.violations[i].description);
  }
}

TEST(StatusTest, DetailsStayWithTheError) {
  const absl::Status status = MakeError(absl::StatusCode::kInvalidArgument, "bad event", FullDetails());
  ExpectSame(GetErrorDetails(status), FullDetails());
  const absl::Status annotated = Annotate(status, "import");
  EXPECT_EQ(annotated.message(), "import: bad event");
  EXPECT_EQ(annotated.code(), absl::StatusCode::kInvalidArgument);
  ExpectSame(GetErrorDetails(annotated), FullDetails());
  EXPECT_TRUE(Annotate(absl::OkStatus(), "import").ok());
}

TEST(StatusTest, ErrorsWithoutDetailsGetAReasonFromTheirCode) {
  EXPECT_EQ(GetErrorDetails(absl::UnavailableError("x")).reason, "UNAVAILABLE");
  EXPECT_EQ(GetErrorDetails(MakeError(absl::StatusCode::kAborted, "x", ErrorDetails())).reason, "ABORTED");
}

absl::StatusOr<int> Half(int number) {
  if (number % 2 != 0) return MakeError(absl::StatusCode::kInvalidArgument, "ODD", "odd");
  return number / 2;
}
absl::StatusOr<int> Quarter(int number) {
  NARU_ASSIGN_OR_RETURN(const int half, Half(number));
  int quarter = 0;
  NARU_ASSIGN_OR_RETURN(quarter, Half(half));
  NARU_RETURN_IF_ERROR(absl::OkStatus());
  return quarter;
}

TEST(StatusTest, MacrosReturnTheFirstError) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(GetErrorDetails(Quarter(6).status()).reason, "ODD");
}

TEST(GrpcStatusTest, GoesThereAndBack) {
  const absl::Status status = MakeError(absl::StatusCode::kResourceExhausted, "too much", FullDetails());
  const grpc::Status sent = ToGrpcStatus(status, "other.naru.dev");
  EXPECT_EQ(sent.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(sent.error_message(), "too much");
  const absl::Status back = FromGrpcStatus(sent);
  EXPECT_EQ(back.code(), status.code());
  EXPECT_EQ(back.message(), status.message());
  ExpectSame(GetErrorDetails(back), FullDetails());
  EXPECT_TRUE(FromGrpcStatus(ToGrpcStatus(absl::OkStatus(), "x")).ok());
}

TEST(GrpcStatusTest, HoldsExactlyOneErrorInfoWithTheServersDomain) {
  const grpc::Status sent = ToGrpcStatus(absl::NotFoundError("x"), "ingest.naru.dev");
  google::rpc::Status rich;
  ASSERT_TRUE(rich.ParseFromString(sent.error_details()));
  EXPECT_EQ(rich.code(), 5);
  ASSERT_EQ(rich.details_size(), 1);
  EXPECT_EQ(rich.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(rich.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "NOT_FOUND");
  EXPECT_EQ(info.domain(), "ingest.naru.dev");
}

TEST(GrpcStatusTest, StaysWithinATrailerHoweverMuchThereIsToSay) {
  ErrorDetails details = FullDetails();
  for (int i = 0; i < 10'000; ++i) {
    details.violations.push_back({absl::StrCat("events[", i, "]"), std::string(300, 'x')});
    details.metadata[absl::StrCat("key", i)] = std::string(300, 'y');
  }
  const std::string korean = "\xed\x95\x9c";
  std::string message;
  for (int i = 0; i < 5000; ++i) message += korean;
  const grpc::Status sent = ToGrpcStatus(MakeError(absl::StatusCode::kInvalidArgument, message, details), "x");
  EXPECT_LT(sent.error_message().size() + sent.error_details().size() * 4 / 3, 8000u);
  // Not cut inside a character.
  EXPECT_EQ((sent.error_message().size() - 3) % 3, 0u);
  const ErrorDetails back = GetErrorDetails(FromGrpcStatus(sent));
  EXPECT_EQ(back.reason, "EVENT_INVALID");
  EXPECT_EQ(back.retry_after, std::chrono::milliseconds(1500));
  EXPECT_FALSE(back.violations.empty());
}

TEST(GrpcStatusTest, ForeignDetailsDoNoHarm) {
  const absl::Status status = FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "x", "\xff\xff not a message"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetErrorDetails(status).reason, "INTERNAL");
}

}  // namespace
}  // namespace naru
