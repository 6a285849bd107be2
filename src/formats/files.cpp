#include "formats/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <system_error>

#include "headscope/safetensors.h"

namespace headscope {

namespace files {

Descriptor::~Descriptor() { close(); }

bool Descriptor::close() {
  const int fd = std::exchange(fd_, -1);
  // On Linux the descriptor is gone whatever close answers; EINTR must not be retried.
  return fd < 0 || ::close(fd) == 0 || errno == EINTR;
}

namespace {
ErrorCode code_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return ErrorCode::kResources;
    default:
      return ErrorCode::kIo;
  }
}

std::string message_of(const std::filesystem::path& path, std::string_view verb, int error) {
  return fmt::format(
      "[{}] cannot {}: {}", path.string(), verb, std::system_category().message(error));
}

[[noreturn]] void cannot_open(const std::filesystem::path& path, int error) {
  throw NotOpened(code_of(error), message_of(path, "open", error), path, error);
}

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}
}  // namespace

void fail(const std::filesystem::path& path, std::string_view verb, int error) {
  throw Error(code_of(error), message_of(path, verb, error));
}

Opened open_to_read(const std::filesystem::path& path) {
  // Without O_NONBLOCK a pipe that nobody writes to would hold us here for ever.
  Opened out{Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), 0};
  if (out.descriptor.get() < 0) cannot_open(path, errno);
  struct stat status {};
  if (::fstat(out.descriptor.get(), &status) != 0) cannot_open(path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw NotOpened(
        ErrorCode::kInput,
        fmt::format("[{}] expected a file, found {}", path.string(), kind_of(status.st_mode)),
        path,
        S_ISDIR(status.st_mode) ? EISDIR : ENODEV);
  }
  out.size = static_cast<std::size_t>(status.st_size);
  return out;
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) {
    create_temporary();
    return;
  }
  if (S_ISDIR(status.st_mode)) {
    throw Error(ErrorCode::kIo,
                fmt::format("[{}] expected a file to write, found a folder", path_.string()));
  }
  if (!S_ISREG(status.st_mode)) {  // Renaming over /dev/null would be a bad surprise.
    descriptor_ = Descriptor(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    if (descriptor_.get() < 0) fail(path_, "write", errno);
    return;
  }
  if (::access(path_.c_str(), W_OK) != 0) fail(path_, "write", errno);
  // A link keeps pointing where it points; the file behind it is replaced.
  std::error_code ignored;
  if (auto target = std::filesystem::canonical(path_, ignored); !ignored) path_ = target;
  create_temporary();
  // An existing file keeps its permissions; failing that, the usual ones are fine.
  if (::fchmod(descriptor_.get(), status.st_mode & 07777) != 0) errno = 0;
}

void AtomicFile::create_temporary() {
  static std::atomic<unsigned> serial{0};
  std::filesystem::path folder = path_.parent_path();
  if (folder.empty()) folder = ".";
  constexpr int kTries = 1000;  // Leftovers of crashed processes may hold some names.
  for (int i = 0; i < kTries; ++i) {
    temporary_ = folder / fmt::format(".headscope-{}-{}.part", ::getpid(), serial++);
    descriptor_ =
        Descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (descriptor_.get() >= 0) return;
    if (errno != EEXIST) break;
  }
  const int error = errno;
  temporary_.clear();
  fail(path_, "write", error);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    if (!descriptor_.close()) fail(path_, "write", errno);
    return;
  }
  if (::fsync(descriptor_.get()) != 0) fail(path_, "write", errno);
  if (!descriptor_.close()) fail(path_, "write", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "write", errno);
  std::filesystem::path folder = path_.parent_path();
  temporary_.clear();
  // The name is durable once its folder is; some file systems cannot sync a folder, and then the
  // rename is as safe as they make it.
  if (folder.empty()) folder = ".";
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() >= 0 && ::fsync(opened.get()) != 0) errno = 0;
}

}  // namespace files

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const files::Opened file = files::open_to_read(path);
  const std::byte* data = nullptr;
  if (file.size > 0) {  // An empty mapping is an error to the system, but an empty file is not.
    void* mapped = ::mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, file.descriptor.get(), 0);
    if (mapped == MAP_FAILED) files::fail(path, "map", errno);
    data = static_cast<const std::byte*>(mapped);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(data, file.size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  files::AtomicFile file(path);
  file.append(bytes);
  file.commit();
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text)));
}

std::string read_file(const std::filesystem::path& path, std::size_t limit) {
  const files::Opened file = files::open_to_read(path);
  const auto too_long = [&] {
    return Error(ErrorCode::kResources,
                 fmt::format("[{}] expected at most {} bytes", path.string(), limit));
  };
  if (file.size > limit) throw too_long();
  // Files of /proc claim to be empty and others may grow: the end is where read says it is.
  std::string text(file.size, '\0');
  std::size_t filled = 0;
  while (true) {
    if (filled == text.size()) {
      char beyond = 0;
      const ssize_t more = ::read(file.descriptor.get(), &beyond, 1);
      if (more == 0) break;
      if (more < 0 && errno == EINTR) continue;
      if (more < 0) files::fail(path, "read", errno);
      if (filled == limit) throw too_long();
      text.resize(std::min(limit, std::max<std::size_t>(4096, 2 * filled)));
      text[filled++] = beyond;
      continue;
    }
    const ssize_t got = ::read(file.descriptor.get(), text.data() + filled, text.size() - filled);
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) files::fail(path, "read", errno);
    filled += static_cast<std::size_t>(got);
  }
  text.resize(filled);
  return text;
}

}  // namespace headscope
