#include "headscope/threads.h"

#include <gtest/gtest.h>

#include <atomic>
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
