#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "formats/files.h"
#include "formats/hub.h"

/// How contents get into the cache: piece by piece under another name, whole under their own.
namespace headscope::hub {

/// A file that is coming. What is there stays there when the program ends, and the next call goes
/// on behind it. One program at a time may write it.
class Partial {
 public:
  /// Errors: kIo; kResources when another program is fetching this very file.
  Partial(std::filesystem::path path, const std::string& name);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Errors: kIo (disk full: what came so far stays).
  void append(std::string_view bytes);
  /// Forgets what came.
  void restart();
  /// Errors: kResources when the disk has no room for the rest of `size` bytes.
  void need_room(std::uint64_t size) const;
  /// SHA-256, or the SHA-1 that git gives a file, in hexadecimal digits.
  [[nodiscard]] std::string hash(bool sha256) const;
  /// Gives the file its name. It is on the disk before.
  void commit(const std::filesystem::path& path);

 private:
  std::filesystem::path path_;
  files::Descriptor descriptor_;
  std::uint64_t size_ = 0;
};

/// Errors: kIo.
void make_folders(const std::filesystem::path& path);
/// The link snapshots/COMMIT/FILE to the blob of a file.
void link_blob(const std::filesystem::path& snapshot, const File& file);

}  // namespace headscope::hub
