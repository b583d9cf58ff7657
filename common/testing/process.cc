#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock/clock.h"
#include "common/sync/mutex.h"
#include "common/testing/testing.h"

extern char** environ;

namespace naru::testing {
namespace {

// Environment and arguments must be ready before fork: between fork and exec nothing may allocate.
std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (added.count(text.substr(0, text.find('='))) == 0) merged.push_back(text);
  }
  for (const auto& [name, value] : added) merged.push_back(absl::StrCat(name, "=", value));
  return merged;
}

}  // namespace

struct Process::State {
  int pid = -1;
  int in_fd = -1;
  int out_fd = -1;
  int err_fd = -1;
  std::string input;
  std::thread reader;
  mutable Mutex mu;
  CondVar changed;
  std::string out ABSL_GUARDED_BY(mu);
  std::string err ABSL_GUARDED_BY(mu);
  size_t read_position ABSL_GUARDED_BY(mu) = 0;
  bool out_ended ABSL_GUARDED_BY(mu) = false;
  bool exited = false;
  int exit_code = 0;

  void Pump();
  bool PumpOne(int* fd, std::string* into);
  void Feed();
};

// Copies what has come on `*fd`; closes it at the end. Returns whether it is still open.
bool Process::State::PumpOne(int* fd, std::string* into) {
  char buffer[16384];
  const ssize_t got = read(*fd, buffer, sizeof(buffer));
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  MutexLock lock(&mu);
  if (got > 0) {
    into->append(buffer, static_cast<size_t>(got));
  } else {
    close(*fd);
    if (*fd == out_fd) out_ended = true;
    *fd = -1;
  }
  changed.SignalAll();
  return got > 0;
}

void Process::State::Feed() {
  const ssize_t put = input.empty() ? 0 : write(in_fd, input.data(), input.size());
  if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (put > 0) input.erase(0, static_cast<size_t>(put));
  if (put < 0 || input.empty()) {
    close(in_fd);
    in_fd = -1;
  }
}

void Process::State::Pump() {
  while (out_fd >= 0 || err_fd >= 0 || in_fd >= 0) {
    std::array<pollfd, 3> fds = {{{out_fd, POLLIN, 0}, {err_fd, POLLIN, 0}, {in_fd, POLLOUT, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) PumpOne(&out_fd, &out);
    if (fds[1].revents != 0) PumpOne(&err_fd, &err);
    if (fds[2].revents != 0) Feed();
  }
}

Process::Process(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Process>> Process::Start(Options options) {
  std::signal(SIGPIPE, SIG_IGN);
  int in[2], out[2], err[2], failed[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 ||
      pipe2(failed, O_CLOEXEC) != 0) {
    return absl::ResourceExhaustedError("no pipes left");
  }
  std::vector<std::string> environment = MergedEnvironment(options.env);
  const std::vector<char*> args = Pointers(options.args);
  const std::vector<char*> env = Pointers(environment);
  const char* directory = options.working_directory.empty() ? nullptr : options.working_directory.c_str();
  const int pid = fork();
  if (pid == 0) {
    setpgid(0, 0);  // a group of its own, so that what it starts can be ended with it
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    if (directory == nullptr || chdir(directory) == 0) execvpe(args[0], args.data(), env.data());
    const int error = errno;
    if (write(failed[1], &error, sizeof(error)) < 0) _exit(126);
    _exit(127);
  }
  for (const int fd : {in[0], out[1], err[1], failed[1]}) close(fd);
  int error = 0;
  const ssize_t told = read(failed[0], &error, sizeof(error));
  close(failed[0]);
  if (pid < 0 || told > 0) {
    for (const int fd : {in[1], out[0], err[0]}) close(fd);
    if (pid > 0) waitpid(pid, nullptr, 0);
    return absl::NotFoundError(absl::StrCat("cannot start ", options.args[0], ": ", std::strerror(error)));
  }
  auto state = std::make_unique<State>();
  state->pid = pid;
  state->in_fd = in[1];
  state->out_fd = out[0];
  state->err_fd = err[0];
  fcntl(state->in_fd, F_SETFL, O_NONBLOCK);
  state->input = std::move(options.input);
  state->reader = std::thread([raw = state.get()] { raw->Pump(); });
  return std::unique_ptr<Process>(new Process(std::move(state)));
}

Process::~Process() {
  if (!state_->exited) {
    kill(-state_->pid, SIGKILL);
    waitpid(state_->pid, nullptr, 0);
  } else {
    kill(-state_->pid, SIGKILL);  // what it left behind would hold the pipes open
  }
  state_->reader.join();
}

int Process::pid() const { return state_->pid; }

absl::StatusOr<std::string> Process::ReadLine(std::chrono::milliseconds timeout) {
  const int64_t end_us = Clock::System()->MonotonicMicros() + timeout.count() * 1000;
  MutexLock lock(&state_->mu);
  while (true) {
    const size_t end = state_->out.find('\n', state_->read_position);
    if (end != std::string::npos) {
      std::string line = state_->out.substr(state_->read_position, end - state_->read_position);
      state_->read_position = end + 1;
      return line;
    }
    if (state_->out_ended) {
      return absl::OutOfRangeError(
          absl::StrCat("no further line on standard output; on standard error: ", state_->err));
    }
    const int64_t left_us = end_us - Clock::System()->MonotonicMicros();
    if (left_us <= 0) {
      return absl::DeadlineExceededError(absl::StrCat("no line came in time; on standard error: ", state_->err));
    }
    state_->changed.WaitFor(&state_->mu, std::chrono::microseconds(left_us));
  }
}

void Process::Signal(int signal) {
  if (!state_->exited) kill(state_->pid, signal);
}

absl::StatusOr<int> Process::Wait(std::chrono::milliseconds timeout) {
  int status = 0;
  if (!state_->exited) {
    if (!WaitUntil([&] { return waitpid(state_->pid, &status, WNOHANG) == state_->pid; }, timeout)) {
      return absl::DeadlineExceededError(
          absl::StrCat("process ", state_->pid, " is still running; on standard error: ", Stderr()));
    }
    state_->exited = true;
    state_->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    // What it wrote last may still be in the pipe.
    WaitUntil(
        [&] {
          MutexLock lock(&state_->mu);
          return state_->out_ended;
        },
        std::chrono::seconds(2));
  }
  return state_->exit_code;
}

std::string Process::Stdout() const {
  MutexLock lock(&state_->mu);
  return state_->out;
}
std::string Process::Stderr() const {
  MutexLock lock(&state_->mu);
  return state_->err;
}

absl::StatusOr<ProcessResult> RunProcess(Process::Options options, std::chrono::milliseconds timeout) {
  absl::StatusOr<std::unique_ptr<Process>> process = Process::Start(std::move(options));
  if (!process.ok()) return process.status();
  const absl::StatusOr<int> exit_code = (*process)->Wait(timeout);
  if (!exit_code.ok()) return exit_code.status();
  return ProcessResult{*exit_code, (*process)->Stdout(), (*process)->Stderr()};
}

}  // namespace naru::testing
