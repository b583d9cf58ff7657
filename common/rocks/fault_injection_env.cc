#include "common/rocks/fault_injection_env.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <system_error>
#include <utility>

namespace naru::rocks {
namespace {

namespace fs = std::filesystem;

std::string DirectoryOf(const std::string& name) { return fs::path(name).parent_path().lexically_normal().string(); }

rocksdb::Status PowerIsOff() { return rocksdb::Status::IOError("the power is off"); }

}  // namespace

template <typename Change>
rocksdb::Status FaultInjectionEnv::IfPowered(Change change) {
  std::shared_lock<std::shared_mutex> lock(power_mu_);
  return powered_ ? change() : PowerIsOff();
}

// Counts what is appended and synced.
class TrackedFile : public rocksdb::WritableFileWrapper {
 public:
  TrackedFile(FaultInjectionEnv* env, std::string name, std::unique_ptr<rocksdb::WritableFile> target)
      : WritableFileWrapper(target.get()), env_(env), name_(std::move(name)), target_(std::move(target)) {}

  rocksdb::Status Append(const rocksdb::Slice& data) override {
    return env_->IfPowered([&] {
      rocksdb::Status status = env_->CheckSpace();
      if (status.ok()) status = target_->Append(data);
      if (status.ok()) env_->Grow(name_, data.size());
      return status;
    });
  }
  rocksdb::Status Append(const rocksdb::Slice& data, const rocksdb::DataVerificationInfo&) override {
    return Append(data);
  }
  rocksdb::Status Truncate(uint64_t size) override {
    return env_->IfPowered([&] { return target_->Truncate(size); });
  }
  // The power that goes is not the machine's: what is synced is noted, and need not reach the disk.
  rocksdb::Status Sync() override {
    return env_->IfPowered([&] { return Synced(target_->Flush()); });
  }
  rocksdb::Status Fsync() override {
    return env_->IfPowered([&] { return Synced(target_->Flush()); });
  }
  rocksdb::Status Allocate(uint64_t offset, uint64_t length) override {
    return env_->IfPowered([&] { return target_->Allocate(offset, length); });
  }

 private:
  rocksdb::Status Synced(rocksdb::Status status) {
    if (status.ok()) env_->MarkSynced(name_);
    return status;
  }
  FaultInjectionEnv* const env_;
  const std::string name_;
  const std::unique_ptr<rocksdb::WritableFile> target_;
};

class TrackedDirectory : public rocksdb::Directory {
 public:
  TrackedDirectory(FaultInjectionEnv* env, std::string name, std::unique_ptr<rocksdb::Directory> target)
      : env_(env), name_(std::move(name)), target_(std::move(target)) {}
  rocksdb::Status Fsync() override {
    return env_->IfPowered([&] {
      env_->MarkNamesSynced(name_);
      return rocksdb::Status::OK();
    });
  }
  rocksdb::Status Close() override { return target_->Close(); }

 private:
  FaultInjectionEnv* const env_;
  const std::string name_;
  const std::unique_ptr<rocksdb::Directory> target_;
};

FaultInjectionEnv::FaultInjectionEnv() : EnvWrapper(rocksdb::Env::Default()) {}
FaultInjectionEnv::~FaultInjectionEnv() = default;

void FaultInjectionEnv::CutPower() {
  std::unique_lock<std::shared_mutex> lock(power_mu_);
  powered_ = false;
}

void FaultInjectionEnv::LoseUnsynced(Random* random) {
  std::unique_lock<std::shared_mutex> power_lock(power_mu_);
  MutexLock lock(&mu_);
  for (const auto& [name, state] : files_) {
    std::error_code error;
    if (!fs::exists(name, error)) continue;
    if (!state.name_synced && random->Next() % 2 == 0) {
      fs::remove(name, error);
      continue;
    }
    const uint64_t size = fs::file_size(name, error);
    const uint64_t synced = std::min(state.synced, size);
    const uint64_t kept = synced + random->Next() % (size - synced + 1);
    fs::resize_file(name, kept, error);
    if (kept > synced && random->Next() % 2 == 0) {
      // Pages reach the disk in any order: one that did not reads as zeros, though later ones are there.
      constexpr uint64_t kPage = 4096;
      const uint64_t at = synced + random->Next() % (kept - synced);
      const uint64_t end = std::min(kept, (at / kPage + 1) * kPage);
      std::fstream file(name, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(at));
      for (uint64_t i = at; i < end; ++i) file.put('\0');
    }
  }
  files_.clear();
  powered_ = true;
}

rocksdb::Status FaultInjectionEnv::CheckSpace() const {
  return disk_full_ ? rocksdb::Status::NoSpace("the disk is full (injected)") : rocksdb::Status::OK();
}

void FaultInjectionEnv::Track(const std::string& name) {
  MutexLock lock(&mu_);
  files_[name] = FileState();
}

void FaultInjectionEnv::Grow(const std::string& name, uint64_t bytes) {
  appended_bytes_ += static_cast<int64_t>(bytes);
  MutexLock lock(&mu_);
  files_[name].size += bytes;
}

void FaultInjectionEnv::MarkSynced(const std::string& name) {
  MutexLock lock(&mu_);
  FileState& state = files_[name];
  state.synced = state.size;
}

void FaultInjectionEnv::MarkNamesSynced(const std::string& directory) {
  MutexLock lock(&mu_);
  const std::string normal = fs::path(directory).lexically_normal().string();
  for (auto& [name, state] : files_) {
    if (DirectoryOf(name) == normal) state.name_synced = true;
  }
}

rocksdb::Status FaultInjectionEnv::NewWritableFile(const std::string& name,
                                                   std::unique_ptr<rocksdb::WritableFile>* file,
                                                   const rocksdb::EnvOptions& options) {
  return IfPowered([&] {
    rocksdb::Status status = CheckSpace();
    std::unique_ptr<rocksdb::WritableFile> target;
    if (status.ok()) status = EnvWrapper::NewWritableFile(name, &target, options);
    if (!status.ok()) return status;
    Track(name);
    *file = std::make_unique<TrackedFile>(this, name, std::move(target));
    return status;
  });
}

rocksdb::Status FaultInjectionEnv::ReopenWritableFile(const std::string& name,
                                                      std::unique_ptr<rocksdb::WritableFile>* file,
                                                      const rocksdb::EnvOptions& options) {
  return IfPowered([&] {
    std::unique_ptr<rocksdb::WritableFile> target;
    rocksdb::Status status = EnvWrapper::ReopenWritableFile(name, &target, options);
    if (!status.ok()) return status;
    std::error_code error;
    // Its name has been there before, and its bytes; a file known already keeps what is known of it.
    const uint64_t size = fs::file_size(name, error);
    {
      MutexLock lock(&mu_);
      files_.try_emplace(name, FileState{size, size, true});
    }
    *file = std::make_unique<TrackedFile>(this, name, std::move(target));
    return status;
  });
}

rocksdb::Status FaultInjectionEnv::ReuseWritableFile(const std::string& name, const std::string& old_name,
                                                     std::unique_ptr<rocksdb::WritableFile>* file,
                                                     const rocksdb::EnvOptions& options) {
  rocksdb::Status status = RenameFile(old_name, name);
  return status.ok() ? NewWritableFile(name, file, options) : status;
}

rocksdb::Status FaultInjectionEnv::NewDirectory(const std::string& name,
                                                std::unique_ptr<rocksdb::Directory>* directory) {
  std::unique_ptr<rocksdb::Directory> target;
  rocksdb::Status status = EnvWrapper::NewDirectory(name, &target);
  if (status.ok()) *directory = std::make_unique<TrackedDirectory>(this, name, std::move(target));
  return status;
}

rocksdb::Status FaultInjectionEnv::DeleteFile(const std::string& name) {
  return IfPowered([&] {
    rocksdb::Status status = EnvWrapper::DeleteFile(name);
    MutexLock lock(&mu_);
    if (status.ok()) files_.erase(name);
    return status;
  });
}

rocksdb::Status FaultInjectionEnv::RenameFile(const std::string& from, const std::string& to) {
  return IfPowered([&] {
    std::error_code error;
    const bool replaces = fs::exists(to, error);
    rocksdb::Status status = EnvWrapper::RenameFile(from, to);
    if (!status.ok()) return status;
    MutexLock lock(&mu_);
    const auto it = files_.find(from);
    if (it == files_.end()) return status;
    FileState state = it->second;
    // A journal orders a rename over an existing file after the file's data: the old or the new one is there, and the
    // new one is what is taken here.
    state.name_synced = replaces;
    files_.erase(it);
    files_[to] = state;
    return status;
  });
}

rocksdb::Status FaultInjectionEnv::LinkFile(const std::string& from, const std::string& to) {
  return IfPowered([&] { return EnvWrapper::LinkFile(from, to); });
}

rocksdb::Status FaultInjectionEnv::GetFreeSpace(const std::string& path, uint64_t* free) {
  const int64_t bytes = free_bytes_.load();
  if (disk_full_) {
    *free = 0;
  } else if (bytes >= 0) {
    *free = static_cast<uint64_t>(bytes);
  } else {
    return EnvWrapper::GetFreeSpace(path, free);
  }
  return rocksdb::Status::OK();
}

}  // namespace naru::rocks
