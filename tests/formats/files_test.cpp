#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

#include "formats/bytes.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

/// For as long as it lives no file of this process may grow past a size: a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t size) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{size, before_.rlim_max};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ADD_FAILURE() << "no limit on files";
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(WriteFile, WritesAndReplaces) {
  const Scratch scratch;
  write_file(scratch / "a", "one");
  EXPECT_EQ(read_file(scratch / "a"), "one");
  write_file(scratch / "a", "");
  EXPECT_EQ(read_file(scratch / "a"), "");
  EXPECT_EQ(scratch.files(), 1);
}

TEST(WriteFile, AFullDiskLeavesTheOldFileAndNothingElse) {
  const Scratch scratch;
  const Tensor big = Tensor::zeros(DType::kF32, {1 << 16});
  write_file(scratch / "a", "old");
  {
    const FullDisk full(100'000);
    EXPECT_EQ(outcome([&] { write_safetensors(scratch / "a", {{"x", big.any()}}); }), "io");
    EXPECT_EQ(outcome([&] { write_safetensors(scratch / "b", {{"x", big.any()}}); }), "io");
    EXPECT_EQ(outcome([&] { write_file(scratch / "a", std::string(100'001, 'x')); }), "io");
  }
  EXPECT_EQ(read_file(scratch / "a"), "old");
  EXPECT_EQ(scratch.files(), 1);
  write_safetensors(scratch / "a", {{"x", big.any()}});
  EXPECT_EQ(Safetensors::open(scratch / "a").at("x").size(), 1 << 16);
}

TEST(WriteFile, DevicesAreWrittenToAndNotReplaced) {
  EXPECT_EQ(outcome([] { write_file("/dev/null", "x"); }), "well");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  EXPECT_EQ(outcome([] { write_file("/dev/full", "x"); }), "io");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(WriteFile, PipesAreWrittenTo) {
  const Scratch scratch;
  const fs::path pipe = scratch / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] {
    const int fd = ::open(pipe.c_str(), O_RDONLY);
    char buffer[64];
    for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;) {
      got.append(buffer, static_cast<std::size_t>(n));
    }
    ::close(fd);
  });
  write_file(pipe, "through");
  reader.join();
  EXPECT_EQ(got, "through");
  EXPECT_TRUE(fs::is_fifo(pipe));
}

TEST(WriteFile, LinksKeepPointingWhereTheyPointed) {
  const Scratch scratch;
  fs::create_directory(scratch / "far");
  write_file(scratch / "far/a", "old");
  fs::create_symlink("far/a", scratch / "link");
  write_file(scratch / "link", "new");
  EXPECT_TRUE(fs::is_symlink(scratch / "link"));
  EXPECT_EQ(read_file(scratch / "far/a"), "new");
}

TEST(WriteFile, PermissionsOfTheOldFileStay) {
  const Scratch scratch;
  write_file(scratch / "a", "old");
  fs::permissions(scratch / "a", fs::perms::owner_read | fs::perms::owner_write);
  write_file(scratch / "a", "new");
  EXPECT_EQ(fs::status(scratch / "a").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST(WriteFile, SaysWhyItCannot) {
  const Scratch scratch;
  const std::string path = (scratch / "none/a").string();
  EXPECT_EQ(message_of([&] { write_file(path, "x"); }),
            "[" + path + "] cannot write: No such file or directory");
  EXPECT_EQ(outcome([&] { write_file(scratch.path(), "x"); }), "io");
  if (::geteuid() == 0) return;  // Nothing is read-only to root.
  write_file(scratch / "a", "old");
  fs::permissions(scratch / "a", fs::perms::owner_read);
  EXPECT_EQ(outcome([&] { write_file(scratch / "a", "x"); }), "io");
  EXPECT_EQ(read_file(scratch / "a"), "old");
}

TEST(WriteFile, LeftoversOfOthersAreNotTouched) {
  const Scratch scratch;
  for (int i = 0; i < 5; ++i) {
    write_file(
        scratch / (".headscope-" + std::to_string(::getpid()) + "-" + std::to_string(i) + ".part"),
        "other");
  }
  write_file(scratch / "a", "mine");
  EXPECT_EQ(scratch.files(), 6);
  EXPECT_EQ(read_file(scratch / "a"), "mine");
}

TEST(WriteFile, TheMappedOldFileStaysReadableWhileItIsReplaced) {
  const Scratch scratch;
  write_file(scratch / "a", "old");
  const auto mapped = MappedFile::open(scratch / "a");
  write_file(scratch / "a", "something new");
  ASSERT_EQ(mapped->bytes().size(), 3U);
  EXPECT_EQ(std::to_integer<char>(mapped->bytes()[0]), 'o');
}

TEST(ReadFile, HoldsToItsLimit) {
  const Scratch scratch;
  write_file(scratch / "a", std::string(1000, 'x'));
  EXPECT_EQ(read_file(scratch / "a", 1000).size(), 1000U);
  EXPECT_EQ(outcome([&] { read_file(scratch / "a", 999); }), "resources");
  write_file(scratch / "b", "");
  EXPECT_EQ(read_file(scratch / "b", 0), "");
}

TEST(ReadFile, ReadsFilesThatClaimToBeEmpty) {
  if (!fs::exists("/proc/self/maps")) GTEST_SKIP() << "no /proc";
  const std::string text = read_file("/proc/self/maps");
  EXPECT_GT(text.size(), 100U);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(outcome([] { read_file("/proc/self/maps", 10); }), "resources");
}

TEST(ReadFile, RefusesWhatIsNoFile) {
  const Scratch scratch;
  EXPECT_EQ(outcome([&] { read_file(scratch / "none"); }), "not_found");
  EXPECT_EQ(outcome([&] { read_file(scratch.path()); }), "input");
  EXPECT_EQ(outcome([] { read_file("/dev/zero"); }), "input");
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(outcome([&] { read_file(scratch / "pipe"); }), "input");  // and does not wait
}

TEST(MappedFile, AnEmptyFileIsNoError) {
  const Scratch scratch;
  write_file(scratch / "a", "");
  EXPECT_TRUE(MappedFile::open(scratch / "a")->bytes().empty());
  EXPECT_EQ(outcome([&] { Safetensors::open(scratch / "a"); }), "format");
}

}  // namespace
}  // namespace headscope
