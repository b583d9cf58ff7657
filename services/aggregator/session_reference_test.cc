// Sessions against a slow reference that follows the rules of session_tracker.h word by word: it keeps every event,
// looks at every session for every record, and counts all anew for every answer. Random events of several timelines, in
// random batches, with crashes, restarts and losses of power in between.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock/rfc3339.h"
#include "gtest/gtest.h"
#include "services/aggregator/testing_cluster.h"

namespace naru::aggregator {
namespace {

using testing::Cluster;
using testing::MakeMetric;
using testing::Node;
using testing::ShowRow;
using testing::TestEvent;
using testing::Time;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kGap = 10 * kMinute;
constexpr int64_t kReport = 30 * kMinute;

std::string Spec(int64_t out_of_orderness_s) {
  return absl::StrCat(R"json({
    "filter": "type in [\"view\", \"click\"]",
    "window": {"type": "session", "gap": "10m", "entity": "subject", "report": "30m"},
    "out_of_orderness": ")json",
                      out_of_orderness_s, R"json(s",
    "dimensions": [{"name": "from", "expr": "data.entry.type"}],
    "measures": [
      {"name": "bounces", "agg": "count", "filter": "data.bounce"},
      {"name": "events", "agg": "sum", "expr": "data.events"},
      {"name": "last", "agg": "sum", "expr": "data.exit.points"},
      {"name": "late", "agg": "sum", "expr": "data.late_events"},
      {"name": "longest", "agg": "max", "expr": "data.duration_ms"},
      {"name": "n", "agg": "count"},
      {"name": "pages", "agg": "top_k", "k": 2, "expr": "data.entry.page"},
      {"name": "users", "agg": "count_distinct", "expr": "subject"}
    ]})json");
}

// An event as the reference keeps it.
struct Seen {
  TestEvent event;
  bool late = false;  // its session had been counted
};

struct RefSession {
  std::vector<Seen> events;
  bool counted = false;

  const TestEvent& First() const {
    return std::min_element(events.begin(), events.end(),
                            [](const Seen& a, const Seen& b) {
                              return std::tie(a.event.time_us, a.event.id) < std::tie(b.event.time_us, b.event.id);
                            })
        ->event;
  }
  const TestEvent& Last() const {
    return std::max_element(events.begin(), events.end(),
                            [](const Seen& a, const Seen& b) {
                              return std::tie(a.event.time_us, a.event.id) < std::tie(b.event.time_us, b.event.id);
                            })
        ->event;
  }
  int64_t LateEvents() const {
    return std::count_if(events.begin(), events.end(), [](const Seen& seen) { return seen.late; });
  }
};

// One partition.
class Reference {
 public:
  explicit Reference(int64_t out_of_orderness_us) : out_of_orderness_us_(out_of_orderness_us) {}

  void Add(const TestEvent& event, int64_t received_us) {
    if (event.ends_timeline) {
      timelines_[event.timeline].ended = true;
      CountDue();
      return;
    }
    Timeline& timeline = timelines_[event.timeline];
    timeline.ended = false;
    timeline.max_us = std::max(timeline.max_us, std::min(event.time_us, received_us));
    CountDue();
    if (event.type != "view" && event.type != "click") return;
    if (event.subject.empty()) return;
    std::vector<RefSession>& sessions = sessions_[event.subject];
    const auto near = [&](const RefSession& session) {
      return std::any_of(session.events.begin(), session.events.end(),
                         [&](const Seen& seen) { return std::abs(seen.event.time_us - event.time_us) < kGap; });
    };
    const auto counted =
        std::count_if(sessions.begin(), sessions.end(), [&](const RefSession& s) { return s.counted && near(s); });
    if (counted > 1) {
      ++late;
      return;
    }
    ++matched;
    RefSession joined;
    joined.events.push_back({event, counted == 1});
    for (auto it = sessions.begin(); it != sessions.end();) {
      if (!near(*it)) {
        ++it;
        continue;
      }
      joined.events.insert(joined.events.end(), it->events.begin(), it->events.end());
      it = sessions.erase(it);
    }
    sessions.push_back(std::move(joined));
    CountDue();
  }
  const std::map<std::string, std::vector<RefSession>>& sessions() const { return sessions_; }
  int64_t late = 0;
  int64_t matched = 0;

 private:
  struct Timeline {
    int64_t max_us = INT64_MIN / 2;
    bool ended = false;
  };
  void CountDue() {
    for (auto& [user, sessions] : sessions_) {
      for (RefSession& session : sessions) {
        bool all = true;
        for (const Seen& seen : session.events) {
          const Timeline& timeline = timelines_[seen.event.timeline];
          all = all && (timeline.ended || timeline.max_us - out_of_orderness_us_ >= session.Last().time_us + kGap);
        }
        session.counted = session.counted || all;
      }
    }
  }

  const int64_t out_of_orderness_us_;
  std::map<std::string, Timeline> timelines_;
  std::map<std::string, std::vector<RefSession>> sessions_;
};

std::vector<std::string> ExpectedRows(const std::vector<Reference>& partitions) {
  struct Totals {
    int64_t bounces = 0, events = 0, last = 0, with_last = 0, late = 0, longest = 0, n = 0;
    std::map<std::string, int64_t> pages;
    std::set<std::string> users;
  };
  std::map<std::pair<int64_t, std::string>, Totals> rows;
  for (const Reference& partition : partitions) {
    for (const auto& [user, sessions] : partition.sessions()) {
      for (const RefSession& session : sessions) {
        const TestEvent &first = session.First(), &last = session.Last();
        Totals& row = rows[{first.time_us / kReport * kReport, first.type}];
        ++row.n;
        row.bounces += session.events.size() == 1 ? 1 : 0;
        row.events += static_cast<int64_t>(session.events.size());
        row.late += session.LateEvents();
        row.longest = std::max(row.longest, (last.time_us - first.time_us) / 1000);
        const auto points = last.numbers.find("points");
        if (points != last.numbers.end()) {
          row.last += static_cast<int64_t>(points->second);
          ++row.with_last;
        }
        const auto page = first.strings.find("page");
        if (page != first.strings.end()) ++row.pages[page->second];
        row.users.insert(user);
      }
    }
  }
  std::vector<std::string> texts;
  for (const auto& [key, row] : rows) {
    std::vector<std::pair<int64_t, std::string>> pages;
    for (const auto& [page, count] : row.pages) pages.emplace_back(-count, page);
    std::sort(pages.begin(), pages.end());
    if (pages.size() > 2) pages.resize(2);
    std::string top = "[";
    for (const auto& [count, page] : pages) absl::StrAppend(&top, page, ":", -count, " ");
    texts.push_back(absl::StrCat(FormatRfc3339(key.first), "/", FormatRfc3339(key.first + kReport),
                                 " {from=", key.second, "} bounces=", row.bounces, " events=", row.events,
                                 " last=", row.with_last == 0 ? "null" : absl::StrCat(row.last), " late=", row.late,
                                 " longest=", row.longest, " n=", row.n, " pages=", top, "] users=", row.users.size()));
  }
  return texts;
}

std::string ShowSession(int64_t start_us, const std::string& entity, int64_t end_us, int64_t events, bool counted,
                        const std::string& entry, int64_t late) {
  return absl::StrCat(FormatRfc3339(start_us), " ", entity, " to ", FormatRfc3339(end_us), " events=", events,
                      counted ? " counted" : " running", " entry=", entry, " late=", late);
}

std::vector<std::string> ExpectedSessions(const std::vector<Reference>& partitions) {
  std::map<std::pair<int64_t, std::string>, std::string> all;
  for (const Reference& partition : partitions) {
    for (const auto& [user, sessions] : partition.sessions()) {
      for (const RefSession& session : sessions) {
        const TestEvent &first = session.First(), &last = session.Last();
        all[{first.time_us, user}] =
            ShowSession(first.time_us, user, last.time_us, static_cast<int64_t>(session.events.size()), session.counted,
                        first.type, session.LateEvents());
      }
    }
  }
  std::vector<std::string> texts;
  for (const auto& [key, text] : all) texts.push_back(text);
  return texts;
}

std::vector<std::string> ActualRows(Node& node) {
  std::vector<std::string> texts;
  for (const v1::WindowRow& row : node.AllRows("visits")) texts.push_back(ShowRow(row));
  return texts;
}

std::vector<std::string> ActualSessions(Node& node, const std::string& entity, int page_size) {
  std::vector<std::string> texts;
  const auto micros = [](const google::protobuf::Timestamp& t) { return t.seconds() * kSecond + t.nanos() / 1000; };
  for (const v1::Session& session : node.AllSessions("visits", entity, page_size)) {
    texts.push_back(ShowSession(micros(session.start_time()), session.entity(), micros(session.end_time()),
                                session.event_count(), session.counted(),
                                session.entry().fields().at("type").string_value(), session.late_event_count()));
  }
  return texts;
}

// Random events of three timelines: around where their timeline has come to, some far behind and few ahead.
class RandomEvents {
 public:
  RandomEvents(std::mt19937_64& random, int64_t t0) : random_(random), t0_(t0) {}

  TestEvent Next() {
    TestEvent event;
    event.timeline = kTimelines[random_() % 3];
    int64_t& at = position_[event.timeline];
    at += static_cast<int64_t>(random_() % 3) * kMinute;
    int64_t time = at;
    if (random_() % 4 == 0) time -= static_cast<int64_t>(random_() % 60) * kMinute;
    if (random_() % 20 == 0) time += static_cast<int64_t>(random_() % 600) * kMinute;
    // Whole minutes, so that gaps of exactly `gap` and equal times are frequent.
    event.time_us = t0_ + std::max<int64_t>(time, kMinute);
    event.type = random_() % 10 == 0 ? "other" : random_() % 2 == 0 ? "view" : "click";
    event.subject = random_() % 15 == 0 ? "" : absl::StrCat("user", random_() % 6);
    event.id = absl::StrCat(random_() % 10, "-", ++next_id_);  // in another order than they come
    if (random_() % 3 != 0) event.numbers["points"] = static_cast<double>(random_() % 10);
    if (random_() % 3 != 0) event.strings["page"] = absl::StrCat("/", random_() % 3);
    return event;
  }
  // The end marker of a timeline that is not the live one.
  TestEvent End() {
    TestEvent end;
    end.timeline = kTimelines[1 + random_() % 2];
    end.ends_timeline = true;
    return end;
  }

 private:
  static constexpr const char* kTimelines[] = {"", "a", "b"};
  std::mt19937_64& random_;
  const int64_t t0_;
  std::map<std::string, int64_t> position_ = {{"", 120 * kMinute}, {"a", 0}, {"b", 30 * kMinute}};
  int64_t next_id_ = 0;
};

class SessionReferenceTest : public ::testing::TestWithParam<int> {
 protected:
  // A crash, a restart with next to no memory, one of the machine, or a loss of power.
  static void Disturb(uint64_t how, Cluster* cluster, std::unique_ptr<Node>* node) {
    if (how == 1) {
      (*node)->Stop();
      *node = cluster->StartNode("a", 4096);
      return;
    }
    if (how == 3) cluster->CutPower();
    (*node)->Crash();
    if (how >= 2) cluster->Reopen();
    *node = cluster->StartNode();
  }
  static void CompareCounts(Node& node, Cluster& cluster, const std::vector<Reference>& reference) {
    int64_t late = 0, matched = 0;
    for (const Reference& partition : reference) {
      late += partition.late;
      matched += partition.matched;
      for (const auto& [user, of_user] : partition.sessions()) {
        for (const RefSession& session : of_user) late_extensions += session.LateEvents();
      }
    }
    ++cases;
    late_events += late;
    EXPECT_EQ(node.Status("visits").late_count(), late);
    EXPECT_EQ(node.Status("visits").matched_count(), matched);
    EXPECT_EQ(static_cast<int64_t>(cluster.LateKeys().size()), late);
  }
  // Users have a partition each, as ingest would choose one.
  static int PartitionOf(const std::string& user, int partitions) {
    return user.empty() ? 0 : static_cast<int>(user.back() - '0') % partitions;
  }
  // Random cases are worth something only where they reach the rare rules.
  static void TearDownTestSuite() {
    if (cases < 20) return;
    EXPECT_GT(late_events, 0);
    EXPECT_GT(late_extensions, 0);
  }
  static inline int cases = 0;
  static inline int64_t late_events = 0, late_extensions = 0;
};

TEST_P(SessionReferenceTest, RowsAndSessionsEqualThoseOfTheReferenceWhateverHappensOnTheWay) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  const int partitions = 1 + static_cast<int>(random() % 3);
  const int64_t out_of_orderness_s = random() % 2 == 0 ? 0 : 120;
  Cluster cluster(partitions);
  const int64_t t0 = Time("2024-05-01T00:00:00Z");
  cluster.clock().SetNowMicros(t0 + 6 * 60 * kMinute);
  std::vector<Reference> reference(static_cast<size_t>(partitions), Reference(out_of_orderness_s * kSecond));
  const bool from_the_start = random() % 3 != 0;
  const auto apply = [&] { cluster.Apply(MakeMetric("visits", 1, Spec(out_of_orderness_s))); };
  if (from_the_start) apply();
  auto node = cluster.StartNode();
  RandomEvents events(random, t0);
  for (int step = 0; step < 40; ++step) {
    std::map<int, std::vector<TestEvent>> batches;
    for (int i = static_cast<int>(random() % (step % 5 == 0 ? 60 : 8)); i > 0; --i) {
      const TestEvent event = events.Next();
      batches[PartitionOf(event.subject, partitions)].push_back(event);
    }
    if (random() % 12 == 0) {
      const TestEvent end = events.End();
      for (int p = 0; p < partitions; ++p) batches[p].push_back(end);
    }
    for (auto& [p, batch] : batches) {
      cluster.Publish(p, batch);
      for (const TestEvent& event : batch) reference[static_cast<size_t>(p)].Add(event, cluster.clock().NowMicros());
    }
    const uint64_t action = random() % 12;
    if (action < 4) Disturb(action, &cluster, &node);
    if ((action == 4 || action == 5) && from_the_start) {
      ASSERT_EQ(ActualRows(*node), ExpectedRows(reference)) << "step " << step;
    }
    if (action == 6) cluster.clock().Advance(std::chrono::minutes(random() % 20));
  }
  if (!from_the_start) apply();
  ASSERT_EQ(ActualRows(*node), ExpectedRows(reference));
  const std::vector<std::string> sessions = ExpectedSessions(reference);
  ASSERT_EQ(ActualSessions(*node, "", 1 + static_cast<int>(random() % 30)), sessions);
  std::vector<std::string> of_user;
  std::copy_if(sessions.begin(), sessions.end(), std::back_inserter(of_user),
               [](const std::string& text) { return text.find(" user3 ") != std::string::npos; });
  EXPECT_EQ(ActualSessions(*node, "user3", 2), of_user);
  CompareCounts(*node, cluster, reference);
  // And once more from what is stored alone.
  node->Stop();
  node = cluster.StartNode();
  EXPECT_EQ(ActualRows(*node), ExpectedRows(reference));
  EXPECT_EQ(ActualSessions(*node, "", 0), sessions);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SessionReferenceTest, ::testing::Range(1, 25));

}  // namespace
}  // namespace naru::aggregator
