// Folders that one program writes to at a time.
#include "train/hold.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "formats/scratch.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::train {
namespace {

namespace fs = std::filesystem;

std::string complaint(const fs::path& folder) {
  try {
    const FolderHold hold(folder, "sweep");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResources);
    return error.what();
  }
  return "";
}

TEST(FolderHolds, KeepOthersOutUntilTheyAreGone) {
  const Scratch scratch;
  {
    const FolderHold hold(scratch / "a", "sweep");
    EXPECT_NE(complaint(scratch / "a").find("another headscope that"), std::string::npos);
    EXPECT_EQ(complaint(scratch / "b"), "");
    write_file(scratch / "a" / "x", std::string_view("x"));
  }
  EXPECT_EQ(complaint(scratch / "a"), "");
  EXPECT_FALSE(fs::exists(scratch / "a" / ".lock"));
  EXPECT_TRUE(fs::exists(scratch / "a" / "x"));
  EXPECT_FALSE(fs::exists(scratch / "b"));
}

TEST(FolderHolds, EndWithAProgramThatIsKilled) {
  const Scratch scratch;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const FolderHold hold(scratch / "a", "train");
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char x = 0;
  EXPECT_EQ(::read(ready[0], &x, 1), 1);
  EXPECT_NE(complaint(scratch / "a"), "");
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(fs::exists(scratch / "a" / ".lock"));
  EXPECT_EQ(complaint(scratch / "a"), "");
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace headscope::train
