#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "headscope/error.h"

/// What the operating system is asked for, with its answers turned into Errors.
namespace headscope::files {

/// An open file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  [[nodiscard]] int get() const { return fd_; }
  /// Closes now. False, with errno set, when the system only now reports a failed write.
  bool close();

 private:
  int fd_ = -1;
};

struct Opened {
  Descriptor descriptor;
  std::size_t size = 0;
};

/// A file that cannot be opened to read, in parts, so that others can say it in other languages.
class NotOpened : public Error {
 public:
  NotOpened(ErrorCode code, const std::string& message, std::filesystem::path path, int error)
      : Error(code, message), path_(std::move(path)), error_(error) {}

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// What the system said; EISDIR for a folder, ENODEV for a pipe, a socket or a device.
  [[nodiscard]] int error() const { return error_; }

 private:
  std::filesystem::path path_;
  int error_;
};

/// Opens a regular file to read. Pipes and devices, which could block or never end, are refused.
/// Errors: NotOpened of kNotFound, kIo, kResources or kInput, naming the path.
Opened open_to_read(const std::filesystem::path& path);

/// Throws what an errno means for a path: `[path] cannot write: No space left on device`.
[[noreturn]] void fail(const std::filesystem::path& path, std::string_view verb, int error);

/// A file that appears under its name whole or not at all: bytes go to a temporary in the same
/// folder, commit() syncs and renames it, and without commit() the temporary is removed.
/// A name that leads to a pipe or device is written to directly.
class AtomicFile {
 public:
  /// Errors: kIo, kNotFound (no such folder).
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Errors: kIo (disk full, quota, broken pipe).
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  /// Errors: kIo; then the old file is still there.
  void commit();

 private:
  void create_temporary();

  std::filesystem::path path_;
  std::filesystem::path temporary_;  ///< empty when there is none
  Descriptor descriptor_;
};

}  // namespace headscope::files
