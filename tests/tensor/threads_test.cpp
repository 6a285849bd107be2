#include "headscope/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "headscope/error.h"

namespace headscope {
namespace {

TEST(ParallelFor, CallsEveryIndexOnce) {
  const int before = threads();
  for (int n : {1, 2, 4}) {
    set_threads(n);
    std::vector<std::atomic<int>> calls(1000);
    parallel_for(1000, [&](std::int64_t i) { ++calls[static_cast<std::size_t>(i)]; });
    for (const auto& c : calls) EXPECT_EQ(c.load(), 1);
  }
  set_threads(before);
}

TEST(ParallelFor, ManyShortCallsFromManyThreadsCallEveryIndexOnce) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&, c] {
      set_threads(c + 2);
      for (int round = 0; round < 3000; ++round) {
        std::atomic<int> calls{0};
        parallel_for(1 + round % 5, [&](std::int64_t) { ++calls; });
        if (calls != 1 + round % 5) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ParallelFor, ThreadsHelp) {
  const int before = threads();
  set_threads(2);
  // Each body waits for the other: one thread alone would never end.
  std::atomic<int> here{0};
  parallel_for(2, [&](std::int64_t) {
    ++here;
    while (here < 2) std::this_thread::yield();
  });
  EXPECT_EQ(here.load(), 2);
  set_threads(before);
}

TEST(ParallelFor, NestsSerially) {
  std::atomic<int> calls{0};
  parallel_for(8, [&](std::int64_t) { parallel_for(8, [&](std::int64_t) { ++calls; }); });
  EXPECT_EQ(calls.load(), 64);
}

TEST(ParallelFor, AnErrorReachesTheCaller) {
  std::atomic<int> calls{0};
  try {
    parallel_for(100, [&](std::int64_t i) {
      ++calls;
      if (i == 37) throw Error(ErrorCode::kRange, "[test] index 37");
    });
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[test] index 37");
  }
}

TEST(ParallelFor, NothingToDoIsFine) {
  parallel_for(0, [](std::int64_t) { FAIL(); });
}

TEST(Threads, LessThanOneIsRefused) { EXPECT_THROW(set_threads(0), Error); }

TEST(ErrorCode, EveryCodeHasANameAndAnExitStatus) {
  for (int c = 0; c <= static_cast<int>(ErrorCode::kInternal); ++c) {
    const auto code = static_cast<ErrorCode>(c);
    EXPECT_FALSE(name(code).empty());
    EXPECT_GE(exit_status(code), 2);
    EXPECT_EQ(name(code) == name(ErrorCode::kInternal), code == ErrorCode::kInternal);
  }
}

}  // namespace
}  // namespace headscope
