#include "cli/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>

namespace headscope::cli {

namespace {
std::mutex mutex;
int writing = 0;
int pending = 0;

[[noreturn]] void leave(int signal) {
  if (::isatty(STDERR_FILENO) != 0) {
    constexpr std::string_view kClearLine = "\r\x1b[K";
    [[maybe_unused]] const auto written =
        ::write(STDERR_FILENO, kClearLine.data(), kClearLine.size());
  }
  ::_exit(128 + signal);
}

void wait_for(const sigset_t& signals) {
  for (int signal = 0;;) {
    if (sigwait(&signals, &signal) != 0) continue;
    const std::lock_guard lock(mutex);
    if (writing == 0) leave(signal);
    pending = signal;
  }
}
}  // namespace

void handle_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM}) {
    sigaddset(&signals, signal);
    // One that was ignored from the start (programs in the background) is never pending.
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    sigaction(signal, &usual, nullptr);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // of all threads from here on
  try {
    std::thread(wait_for, signals).detach();
  } catch (const std::system_error&) {  // no thread to be had: the signals end the program at once
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  }
}

Writing::Writing() {
  const std::lock_guard lock(mutex);
  ++writing;
}

Writing::~Writing() {
  const std::lock_guard lock(mutex);
  if (--writing == 0 && pending != 0) leave(pending);
}

bool signal_waits() {
  const std::lock_guard lock(mutex);
  return pending != 0;
}

}  // namespace headscope::cli
