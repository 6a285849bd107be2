#pragma once

#include <filesystem>
#include <string_view>

#include "formats/files.h"

/// A folder that one program writes to at a time.
namespace headscope::train {

/// Makes the folder where it is not there, and keeps every other program (and every other hold of this one) out of it
/// until it is gone. The kernel lets go of it when the program ends, however it ends. File systems that know no locks
/// keep nobody out.
class FolderHold {
 public:
  /// `what`: what is to be written there, for people: "sweep".
  /// Errors: kResources when another one holds it; kIo, kNotFound.
  FolderHold(std::filesystem::path folder, std::string_view what);
  FolderHold(const FolderHold&) = delete;
  FolderHold& operator=(const FolderHold&) = delete;
  /// Leaves no file behind, nor the folder when it was made here and nothing lies in it. A program that is ended by a
  /// signal leaves .lock, which holds nobody out.
  ~FolderHold();

 private:
  /// False when the file was taken away between opening and locking it.
  bool take(const std::filesystem::path& file, std::string_view what);

  std::filesystem::path folder_;
  files::Descriptor descriptor_;
  bool made_ = false;
};

}  // namespace headscope::train
