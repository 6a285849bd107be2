#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "cli/screen.h"

namespace headscope::cli {

Progress::Progress(Lang lang, std::string what) : lang_(lang), what_(std::move(what)) {
  if (::isatty(STDERR_FILENO) != 0) thread_ = std::thread([this] { tick(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Progress::now(std::string what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  what_ = std::move(what);
}

void Progress::tick() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  auto wake = start + std::chrono::seconds(1);
  bool shown = false;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_until(lock, wake, [this] { return done_; })) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    fmt::print(stderr, "\r\x1b[K{} … {}", clip(what_, 60), duration(lang_, seconds));
    std::fflush(stderr);
    shown = true;
    wake += std::chrono::milliseconds(500);
  }
  if (shown) {
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
  }
}

}  // namespace headscope::cli
