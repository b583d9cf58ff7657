#include "services/ingest/import_reader.h"

#include <algorithm>
#include <utility>

#include "common/status/status.h"
#include "common/sync/mutex.h"

namespace naru::ingest {
namespace {

using input_format::RecordSplitter;

/// Decompressed bytes that are gathered before they are cut into lines.
constexpr size_t kCutBytes = size_t{1} << 20;
constexpr size_t kPaddingBytes = 64;

bool IsBlank(absl::string_view text) {
  if (text.empty()) return true;
  return (text[0] == ' ' || text[0] == '\t') && text.find_first_not_of(" \t") == absl::string_view::npos;
}

/// Line feeds inside a record: only CSV has some.
int64_t InnerLineFeeds(absl::string_view text) {
  if (text.find('\n') == absl::string_view::npos) return 0;
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

/// Buffers that are used again: fresh ones would cost a page fault for every 4 KiB.
class ImportReader::BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  std::string Take() {
    MutexLock lock(&mu_);
    if (free_.empty()) return {};
    std::string buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }
  /// Gives the bytes to whoever shares them; the buffer comes back when nobody does any more.
  std::shared_ptr<const std::string> Keep(std::string buffer) {
    return {new std::string(std::move(buffer)), [pool = shared_from_this()](std::string* done) {
              pool->GiveBack(std::move(*done));
              delete done;
            }};
  }

 private:
  void GiveBack(std::string buffer) {
    MutexLock lock(&mu_);
    buffer.clear();
    if (free_.size() < kKept && buffer.capacity() <= 4 * kCutBytes) free_.push_back(std::move(buffer));
  }

  static constexpr size_t kKept = 8;
  Mutex mu_;
  std::vector<std::string> free_ ABSL_GUARDED_BY(mu_);
};

ImportReader::ImportReader(std::shared_ptr<const input_format::InputFormat> format, absl::string_view source,
                           absl::string_view seed, ImportCompression compression, const ImportLedger* ledger,
                           ImportBlockLimits limits)
    : format_(std::move(format)),
      ledger_(ledger),
      limits_(limits),
      decompressor_(compression),
      splitter_(format_->MakeSplitter()),
      header_pending_(format_->has_header()),
      pool_(std::make_shared<BufferPool>()),
      chain_(ChainStart(source.empty() ? absl::string_view(format_->default_source()) : source, seed)) {
  BeginBlock();
}

ImportReader::~ImportReader() = default;

absl::Status ImportReader::GoOnFrom(const ImportPosition& position) {
  if (header_pending_) {
    // A file that held nothing but its header has no position that the ledger knows.
    NARU_ASSIGN_OR_RETURN(format_, format_->WithHeader(position.header));
    header_pending_ = false;
  }
  header_ = position.header;
  at_start_ = false;
  chain_ = position.line_id;
  end_byte_ = record_end_ = position.end_byte;
  next_number_ = position.next_line_number;
  BeginBlock();
  return absl::OkStatus();
}

absl::Status ImportReader::Add(absl::string_view bytes, std::vector<ImportBlock>* blocks) {
  while (!bytes.empty()) {
    const absl::Status status = decompressor_.Step(&bytes, kCutBytes, &buffer_);
    // Whatever came out before the damage is cut all the same.
    if (buffer_.size() >= kCutBytes || !status.ok()) NARU_RETURN_IF_ERROR(Cut(false, blocks));
    NARU_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status ImportReader::Finish(bool growing, std::vector<ImportBlock>* blocks) {
  const absl::Status finished = decompressor_.Finish(&buffer_);
  // What was cut off in its middle is not the last line.
  NARU_RETURN_IF_ERROR(Cut(finished.ok() && !growing, blocks));
  if (!block_.lines.empty()) EndBlock(false, blocks);
  return finished;
}

absl::Status ImportReader::Cut(bool at_end, std::vector<ImportBlock>* blocks) {
  absl::string_view skipped = buffer_;
  if (at_start_) {
    bool undecided = false;
    skipped = input_format::SkipByteOrderMark(buffer_, at_end, &undecided);
    if (undecided) return absl::OkStatus();
    at_start_ = false;
  }
  const size_t mark = buffer_.size() - skipped.size();
  end_byte_ += static_cast<int64_t>(mark);
  buffer_.reserve(buffer_.size() + kPaddingBytes);
  const std::shared_ptr<const std::string> owner = pool_->Keep(std::move(buffer_));
  buffer_ = pool_->Take();
  absl::string_view rest = absl::string_view(*owner).substr(mark);
  RecordSplitter::Record record;
  bool more = true;
  while (more) {
    more = splitter_.Next(rest, at_end, &record);
    const bool may_grow = at_end && record.size > 0 && record.size == rest.size() && rest.back() != '\n';
    rest.remove_prefix(record.size);
    end_byte_ += static_cast<int64_t>(record.size);
    if (more) record_end_ = end_byte_;
    if (more) NARU_RETURN_IF_ERROR(AddRecord(record, may_grow, owner, blocks));
  }
  buffer_.reserve(2 * kCutBytes);
  buffer_.assign(rest.data(), rest.size());
  return absl::OkStatus();
}

absl::Status ImportReader::AddRecord(const RecordSplitter::Record& record, bool may_grow,
                                     const std::shared_ptr<const std::string>& owner,
                                     std::vector<ImportBlock>* blocks) {
  const int64_t number = next_number_;
  next_number_ += 1 + InnerLineFeeds(record.text);
  if (IsBlank(record.text)) return absl::OkStatus();
  chain_ = NextChainId(chain_, record.text);
  if (header_pending_) {
    header_pending_ = false;
    header_ = std::string(record.text);
    NARU_ASSIGN_OR_RETURN(format_, format_->WithHeader(record.text));
    BeginBlock();
    return absl::OkStatus();
  }
  ++line_count_;
  block_.lines.push_back({record.text, chain_, number, end_byte_, record.too_long});
  block_.bytes += record.text.size();
  if (block_.owners.empty() || block_.owners.back() != owner) block_.owners.push_back(owner);
  if (target_ != nullptr && static_cast<int64_t>(block_.lines.size()) >= target_->line_count) {
    const bool known = target_->end == chain_;
    target_ = nullptr;
    if (known) {
      EndBlock(true, blocks);
      return absl::OkStatus();
    }
  }
  if (may_grow && block_.lines.size() > 1) SplitOffLastLine(blocks);
  // A block also ends where a range of the ledger begins, so that what was stored around a gap is found again.
  const bool full = block_.lines.size() >= limits_.lines || block_.bytes >= limits_.bytes;
  const bool meets_known = !ledger_->empty() && ledger_->Find(chain_) != nullptr;
  if (target_ == nullptr && (full || meets_known)) EndBlock(false, blocks);
  return absl::OkStatus();
}

/// The last line of a file that does not end with a line feed may be another one when the file has grown; alone in its
/// range it leaves the lines before it known.
void ImportReader::SplitOffLastLine(std::vector<ImportBlock>* blocks) {
  const ImportLine last = block_.lines.back();
  std::shared_ptr<const std::string> owner = block_.owners.back();
  block_.lines.pop_back();
  block_.bytes -= last.text.size();
  chain_ = block_.lines.back().id;
  EndBlock(false, blocks);
  chain_ = last.id;
  block_.lines.push_back(last);
  block_.bytes = last.text.size();
  block_.owners.push_back(std::move(owner));
  target_ = nullptr;
}

void ImportReader::EndBlock(bool known, std::vector<ImportBlock>* blocks) {
  if (known) {
    block_.known = ledger_->Find(block_.start);
    block_.lines.clear();
    block_.owners.clear();
  }
  blocks->push_back(std::move(block_));
  BeginBlock();
}

void ImportReader::BeginBlock() {
  block_ = ImportBlock();
  block_.start = chain_;
  block_.lines.reserve(limits_.lines);
  target_ = ledger_->empty() ? nullptr : ledger_->Find(chain_);
}

}  // namespace naru::ingest
