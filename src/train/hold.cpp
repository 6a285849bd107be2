#include "train/hold.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "headscope/error.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {
constexpr const char* kFile = ".lock";
}  // namespace

FolderHold::FolderHold(fs::path folder, std::string_view what) : folder_(std::move(folder)) {
  constexpr int kTries = 100;  // Each of them found one that had just gone.
  for (int n = 0; n < kTries; ++n) {
    std::error_code error;
    made_ = fs::create_directories(folder_, error) || made_;
    if (error) files::fail(folder_, "write", error.value());
    if (take(folder_ / kFile, what)) return;
  }
  throw Error(ErrorCode::kResources,
              fmt::format("[{}] expected a folder to hold, found one that others take and leave",
                          folder_.string()));
}

bool FolderHold::take(const fs::path& file, std::string_view what) {
  files::Descriptor opened(
      ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
  if (opened.get() < 0) {
    if (errno == ENOENT) return false;  // the folder went with its last hold
    files::fail(file, "write", errno);
  }
  if (::flock(opened.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(ErrorCode::kResources,
                fmt::format("[{}] expected a folder for {} that no other program writes to, found "
                            "another headscope that does now; wait for it, or take another folder",
                            folder_.string(),
                            what));
  }
  struct stat ours {};
  struct stat there {};
  if (::fstat(opened.get(), &ours) != 0) files::fail(file, "open", errno);
  if (::stat(file.c_str(), &there) != 0 || ours.st_ino != there.st_ino) return false;
  descriptor_ = std::move(opened);
  return true;
}

FolderHold::~FolderHold() {
  // While it is still held: whoever opened the file before finds another one, or none, in its place.
  ::unlink((folder_ / kFile).c_str());
  std::error_code ignored;
  if (made_) fs::remove(folder_, ignored);
}

}  // namespace headscope::train
