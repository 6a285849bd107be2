// Ctrl-C in the middle of whatever the program does.
#include "cli/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "headscope/threads.h"
#include "train/products.h"

namespace headscope::cli {
namespace {

/// Products of a turned matrix while signals rain; ends by the first of them, or with 1 where a number changed.
[[noreturn]] void multiply_in_the_rain() {
  handle_signals();
  constexpr std::int64_t kRows = 128, kColumns = 96, kInner = 1600;
  std::mt19937 random(1);
  std::normal_distribution<float> number;
  std::vector<float> a(kInner * kRows), b(kInner * kColumns), c(kRows * kColumns);
  for (float& x : a) x = number(random);
  for (float& x : b) x = number(random);
  const train::Term term{train::rows_at(a.data(), kInner, kRows, kRows).turned(),
                         train::rows_at(b.data(), kInner, kColumns, kColumns)};
  const train::Sum sum{.terms = {&term, 1}, .c = c.data(), .step = kColumns};
  train::multiply({&sum, 1});
  const std::vector<float> right = c;
  {
    const Writing writing;  // the signals wait
    std::atomic<bool> over = false;
    std::thread rain([&] {
      while (!over) {
        ::kill(::getpid(), SIGTERM);
        std::this_thread::sleep_for(std::chrono::microseconds(20));
      }
    });
    bool same = true;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(400);
    while (std::chrono::steady_clock::now() < end) {
      train::multiply({&sum, 1});
      same = same && c == right;
    }
    over = true;
    rain.join();
    if (!same || !signal_waits()) ::_exit(1);
  }
  ::_exit(2);  // it should have ended with the writing
}

TEST(SignalsDeathTest, DisturbNoProductAndEndTheProgramOnceNothingIsWritten) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(multiply_in_the_rain(), ::testing::ExitedWithCode(128 + SIGTERM), "");
}

}  // namespace
}  // namespace headscope::cli
