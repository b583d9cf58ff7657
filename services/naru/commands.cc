// The table of commands, with the examples of their --help.
#include "services/naru/app.h"

namespace naru::cli {
namespace {

std::vector<CommandEntry> EventCommands() {
  return {
      {"import", "Take the lines of files as events.",
       "Files are sent as they are; the server decompresses, parses, de-duplicates and keeps bad lines with a reason.\n"
       "The same file again adds nothing; a file that has grown adds its new lines; after an interruption the same "
       "command goes on.\n"
       "With --follow it goes on with what is written to the files, as `tail -F` does, and through renamed, truncated "
       "and compressed\n"
       "rotations each line counts once; a half last line waits for its end.",
       "naru import /var/log/nginx/access.log --format apache-combined\n"
       "naru import logs/ archive/*.gz --format apache-combined --output json\n"
       "zcat old.gz | naru import - --format ndjson --source shop --strict\n"
       "naru import --follow '/var/log/nginx/*.log' --format apache-combined",
       MakeImportCommand},
      {"publish", "Publish events from flags, files or standard input.", "",
       "naru publish --type UserLogin --subject m1 --data '{\"user_age\":27}'\n"
       "naru publish events.jsonl --strict\n"
       "echo '{\"id\":\"1\",\"source\":\"shop\",\"type\":\"UserLogin\",\"subject\":\"m1\"}' | naru publish -",
       MakePublishCommand},
      {"tail", "Print stored events, and new ones as they arrive.", "",
       "naru tail                                      the newest ten\n"
       "naru tail --follow --type UserLogin\n"
       "naru tail --from_time 1h --where 'data.user_age >= 20' --output json",
       MakeTailCommand},
      {"simulate", "Send simulated visitors of a pack's site.",
       "Visitors log in, click, search and come back, by the hours of the day in the pack's zone; some events come "
       "late, twice\n"
       "or broken. The same seed, span and number give the same ids: running it again sends duplicates.",
       "naru simulate --pack ciao_labella --events 100000\n"
       "naru simulate --pack weblog --from 2026-11-01 --to 2026-11-08 --seed 7 --rate 5000\n"
       "naru simulate --pack ciao_labella --follow --resume\n"
       "naru simulate --pack zigbang --days 7 --as_lines > app.log",
       MakeSimulateCommand},
      {"dlq list", "List rejected events with their reasons.", "",
       "naru dlq list\nnaru dlq list --reason FIELD_KIND --from_time 1h --output csv", MakeDlqListCommand},
      {"dlq show", "Show one rejected event with its bytes.", "",
       "naru dlq show 0/42\nnaru dlq show 0/42 --raw > line.txt", MakeDlqShowCommand},
      {"dlq replay", "Take rejected events again, after their type or format was mended.",
       "Each is accepted at most once, however often it is replayed.",
       "naru dlq replay --reason FIELD_ENUM --dry_run\nnaru dlq replay 0/42 0/43\nnaru dlq replay --all",
       MakeDlqReplayCommand},
  };
}

std::vector<CommandEntry> WindowCommands() {
  return {
      {"query", "Print rows of a metric's windows.",
       "Waits until everything that is in the log by now is counted; --fast does not.",
       "naru query hot-activity --latest --group_by gender\n"
       "naru query requests --from 2015-05-17 --to 2015-05-18 --output json\n"
       "naru query requests --by 1d --having 'requests > 1000'\n"
       "naru query hot-activity --from 2h --where 'gender == \"F\"' --order_by 'login desc' --limit 10",
       MakeQueryCommand},
      {"watch", "Print rows of a metric's windows, then each change.", "",
       "naru watch hot-activity --latest --group_by gender\nnaru watch requests --output json --rate 1",
       MakeWatchCommand},
      {"funnel", "Print how far users come in a funnel: users, conversion and time of each step.",
       "Waits until everything that is in the log by now is counted; --fast does not.",
       "naru funnel purchase\n"
       "naru funnel purchase --from 7d --group_by region\n"
       "naru funnel purchase --interval 1w --where 'region == \"Seoul\"' --output json",
       MakeFunnelCommand},
      {"retention", "Print who came back: of the users of each day, week or month, how many came again after it.",
       "Waits until everything that is in the log by now is counted; --fast does not.",
       "naru retention weekly-return\nnaru retention weekly-return --from 30d --output csv", MakeRetentionCommand},
      {"sessions", "Print single sessions of a metric with session windows.",
       "By their start; `counted` ones count in a final way, `running` ones may still grow.",
       "naru sessions visits --entity m1\nnaru sessions visits --from today --output json | jq .duration_ms",
       MakeSessionsCommand},
      {"why", "Show how the numbers of a window came about.",
       "What each partition and pane holds, how far each partition and timeline is, and what did not count.",
       "naru why hot-activity\nnaru why requests 2015-05-17T10:00:00Z\n"
       "naru why hot-activity latest gender=F,age_band=20 --output json",
       MakeWhyCommand},
      {"late list", "List events that came later than a metric's allowed_lateness.", "",
       "naru late list hot-activity\nnaru late list hot-activity --output json --limit 0", MakeLateListCommand},
      {"late replay", "Count late events after all.",
       "In that metric only, each exactly once however often it is replayed; windows that were final get a higher "
       "revision.\n"
       "A record of the replay is written to the log, so that a later version of the metric counts them once too.",
       "naru late replay hot-activity --all --dry_run\nnaru late replay hot-activity 0/42 3/17", MakeLateReplayCommand},
      {"top", "Show the live windows of all metrics on one screen, with the accounting under them.",
       "On a terminal the screen changes in place; elsewhere a snapshot is printed whenever something changed.",
       "naru top\nnaru top hot-activity search-words\nnaru top --once", MakeTopCommand},
      {"status", "Show services, health, accounting, lag and storage.", "Ends with 5 when the server is not serving.",
       "naru status\nnaru status --output json | jq .accounting", MakeStatusCommand},
      {"sink list", "List where the rows of metrics are written to, and how far.", "",
       "naru sink list\nnaru sink list --output json", MakeSinkListCommand},
      {"sink pause", "Stop writing a sink until it is resumed, also over restarts.", "", "naru sink pause hot-redis",
       MakeSinkPauseCommand},
      {"sink resume", "Go on writing a sink where it was paused.", "", "naru sink resume hot-redis",
       MakeSinkResumeCommand},
      {"sink resync", "Write all rows into a sink again.",
       "For a store that was emptied or changed by others; what should not be there is removed. A store that lost\n"
       "everything, or fell back to an older state, is noticed and filled by itself.",
       "naru sink resync hot-redis", MakeSinkResyncCommand},
  };
}

std::vector<CommandEntry> ResourceCommands() {
  return {
      {"apply", "Create or update resources from YAML files.",
       "Everything is checked first (every problem at once, with file and line), tests included; then all is applied "
       "or nothing.",
       "naru apply -f deploy/packs/weblog\nnaru apply --pack ciao_labella --dry_run\ncat metric.yaml | naru apply -f -",
       MakeApplyCommand},
      {"diff", "Show what apply would change.", "Ends with 0 when nothing differs, 1 when something does.",
       "naru diff --pack weblog", MakeDiffCommand},
      {"get", "Print resources.", "One resource is printed as YAML that apply takes back.",
       "naru get\nnaru get Metric\nnaru get Metric hot-activity > hot.yaml\nnaru get --yaml > all.yaml",
       MakeGetCommand},
      {"delete", "Delete a resource.", "", "naru delete Metric hot-activity", MakeDeleteCommand},
      {"explain", "Explain a kind of resource or one of its fields.", "",
       "naru explain Metric\nnaru explain Metric.window.size", MakeExplainCommand},
  };
}

std::vector<CommandEntry> AccessCommands() {
  return {
      {"key create", "Make an API key.",
       "The key is printed once. With --data_dir it works without a server, which must not be running on that "
       "directory.",
       "naru key create --scopes publish --name django\nnaru key create --data_dir .naru --scopes read,publish,admin "
       "--name me",
       MakeKeyCreateCommand},
      {"key list", "List API keys.", "", "naru key list", MakeKeyListCommand},
      {"key revoke", "Make an API key useless.", "", "naru key revoke abcdefgh2345", MakeKeyRevokeCommand},
      {"context set", "Keep an address and a key under a name.", "The file can be read by its owner only.",
       "naru context set prod --address naru.example.com:7700 --tls --api_key naru_... --use", MakeContextSetCommand},
      {"context list", "List contexts.", "", "naru context list", MakeContextListCommand},
      {"context use", "Make a context the current one.", "", "naru context use prod", MakeContextUseCommand},
      {"context delete", "Forget a context.", "", "naru context delete prod", MakeContextDeleteCommand},
  };
}

}  // namespace

std::vector<CommandEntry> ClientCommands() {
  std::vector<CommandEntry> all;
  for (auto* make : {EventCommands, WindowCommands, ResourceCommands, AccessCommands}) {
    for (CommandEntry& entry : make()) all.push_back(std::move(entry));
  }
  return all;
}

}  // namespace naru::cli
