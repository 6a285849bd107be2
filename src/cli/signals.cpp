#include "cli/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string_view>

namespace headscope::cli {

namespace {
std::atomic<int> writing{0};
std::atomic<int> pending{0};
static_assert(std::atomic<int>::is_always_lock_free);

// Only what is allowed inside a signal handler.
void leave(int signal) {
  if (::isatty(STDERR_FILENO) != 0) {
    constexpr std::string_view kClearLine = "\r\x1b[K";
    [[maybe_unused]] const auto written =
        ::write(STDERR_FILENO, kClearLine.data(), kClearLine.size());
  }
  ::_exit(128 + signal);
}

void on_signal(int signal) {
  if (writing.load() > 0) {
    pending.store(signal);
  } else {
    leave(signal);
  }
}
}  // namespace

void handle_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

Writing::Writing() { ++writing; }

Writing::~Writing() {
  if (--writing == 0 && pending.load() != 0) leave(pending.load());
}

bool signal_waits() { return pending.load() != 0; }

}  // namespace headscope::cli
