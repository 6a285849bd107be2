#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headscope/safetensors.h"
#include "headscope/tensor.h"

namespace headscope {

/// The tensors and metadata of one GGUF file (version 2 or 3, little-endian), or of a model split
/// into several. Hostile-safe: every count, length, size and offset is checked against the file
/// before it is used; memory stays within a few times the metadata's bytes. Views point into the
/// mapped file, which must not shrink while it is open.
/// Source  https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
class Gguf {
 public:
  /// Of a split model (NAME-00001-of-00005.gguf) the first file opens all of them.
  /// Errors: kNotFound, kIo, kFormat (says what and where), kUnsupported (version 1, big-endian, a
  /// type that was withdrawn), kResources (more metadata than any model has).
  static Gguf open(const std::filesystem::path& path);
  /// Reads from memory that outlives the result and starts at a multiple of 8. `name` is what
  /// errors call it.
  static Gguf parse(std::span<const std::byte> bytes, std::string_view name);

  /// nullptr when there is no such tensor.
  [[nodiscard]] const AnyView* find(std::string_view name) const;
  /// Errors: kNotFound, naming the tensor and the nearest name there is.
  [[nodiscard]] const AnyView& at(std::string_view name) const;
  /// Shapes outermost first: a matrix that maps x to W x is [out, in].
  [[nodiscard]] const std::map<std::string, AnyView, std::less<>>& tensors() const {
    return tensors_;
  }
  /// An object of all keys: numbers, bools, texts, arrays of these; an array of bytes is a binary
  /// value. Texts need not be UTF-8. Of a split model: the first file's.
  [[nodiscard]] const nlohmann::json& metadata() const { return *metadata_; }
  /// What errors call this file.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  static Gguf open_file(const std::filesystem::path& path);
  void merge(Gguf part);

  std::string name_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::shared_ptr<const nlohmann::json> metadata_;
  std::map<std::string, AnyView, std::less<>> tensors_;
};

/// Writes GGUF version 3, whole or not at all (see write_safetensors). Metadata is an object:
/// integers are written as u32 where they fit, else i32 or 64 bits, other numbers as f32; an array
/// of integers as i32, with any other number as f32; a binary value as bytes. Tensors are aligned
/// to 32 bytes or to `general.alignment`.
/// Errors: kIo (disk full, no permission), kFormat for metadata GGUF cannot hold, kShape, kDType.
void write_gguf(const std::filesystem::path& path,
                const nlohmann::json& metadata,
                const std::vector<std::pair<std::string, TensorSource>>& tensors);

}  // namespace headscope
