#include "common/server/stop_signal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "common/log/log.h"
#include "common/sync/mutex.h"

namespace naru {

struct StopSignal::State {
  int signal_fd = -1;
  int quit_fd = -1;
  std::thread thread;
  sigset_t old_mask{};
  Mutex mu;
  CondVar changed;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  int number ABSL_GUARDED_BY(mu) = 0;

  void Run();
  void Stop(int signal_number);
};

void StopSignal::State::Stop(int signal_number) {
  MutexLock lock(&mu);
  if (!stopped) number = signal_number;
  stopped = true;
  changed.SignalAll();
}

void StopSignal::State::Run() {
  int received = 0;
  while (true) {
    pollfd fds[] = {{signal_fd, POLLIN, 0}, {quit_fd, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signal_fd, &info, sizeof(info)) != sizeof(info)) continue;
    const int signal_number = static_cast<int>(info.ssi_signo);
    // Whoever asks twice does not want to wait: no destructors, nothing that could block again.
    if (++received > 1) _exit(128 + signal_number);
    NARU_LOG(INFO, "stopping; a second signal ends at once", {{"signal", signal_number}});
    Stop(signal_number);
  }
}

StopSignal::StopSignal() : state_(std::make_unique<State>()) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, &state_->old_mask);
  std::signal(SIGPIPE, SIG_IGN);
  state_->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  state_->quit_fd = eventfd(0, EFD_CLOEXEC);
  if (state_->signal_fd < 0 || state_->quit_fd < 0) {
    std::perror("signalfd");
    std::abort();
  }
  state_->thread = std::thread([this] { state_->Run(); });
}

StopSignal::~StopSignal() {
  const uint64_t one = 1;
  if (write(state_->quit_fd, &one, sizeof(one)) != sizeof(one)) std::abort();
  state_->thread.join();
  close(state_->signal_fd);
  close(state_->quit_fd);
  pthread_sigmask(SIG_SETMASK, &state_->old_mask, nullptr);
}

int StopSignal::Wait() {
  MutexLock lock(&state_->mu);
  while (!state_->stopped) state_->changed.Wait(&state_->mu);
  return state_->number;
}

bool StopSignal::stopped() const {
  MutexLock lock(&state_->mu);
  return state_->stopped;
}

void StopSignal::Trigger() { state_->Stop(0); }

}  // namespace naru
