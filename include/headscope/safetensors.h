#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/tensor.h"

namespace headscope {

/// A file mapped read-only into memory; pages are read when touched. Weights are views of it.
class MappedFile {
 public:
  /// Errors: kNotFound, kIo (a directory, no permission), each naming the path.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) : data_(data), size_(size) {}
  const std::byte* data_;
  std::size_t size_;
};

/// The tensors of one safetensors file, or of a sharded set, by name. Hostile-safe: every length
/// and offset is checked against the file before it is used; no allocation exceeds the file's size.
/// Views point into the file; only a tensor that lies unaligned for its dtype is copied. A file
/// must not shrink while it is open.
/// Source  https://github.com/huggingface/safetensors (format), validated by its closed list of
/// errors.
class Safetensors {
 public:
  /// A `.safetensors` file, a `.safetensors.index.json`, or a folder that holds model.safetensors
  /// or model.safetensors.index.json. Errors: kNotFound, kIo, kFormat (says what and where).
  static Safetensors open(const std::filesystem::path& path);
  /// Reads from memory that outlives the result. `name` is what errors call it.
  static Safetensors parse(std::span<const std::byte> bytes, std::string_view name);

  /// nullptr when there is no such tensor.
  [[nodiscard]] const AnyView* find(std::string_view name) const;
  /// Errors: kNotFound, naming the tensor and the nearest name there is.
  [[nodiscard]] const AnyView& at(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, AnyView, std::less<>>& tensors() const {
    return tensors_;
  }
  /// The `__metadata__` of the file (of shards: all of them together).
  [[nodiscard]] const std::map<std::string, std::string, std::less<>>& metadata() const {
    return metadata_;
  }
  /// What errors call this file.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  static Safetensors open_file(const std::filesystem::path& path);
  static Safetensors open_index(const std::filesystem::path& path);
  void merge(Safetensors shard);

  std::string name_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<std::shared_ptr<const Tensor>> copies_;  ///< what lay unaligned, a buffer a file
  std::map<std::string, AnyView, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

/// Writes tensors, widest elements first and then by name, so that each is aligned in the file, to
/// a temporary beside `path`, syncs it and renames it: after a crash either the old file or the new
/// one is there, whole. Equal tensors give equal bytes. A pipe or device is written to directly.
/// Errors: kIo (disk full, no permission), kShape when a view's data is missing, kInput for a name
/// or metadata that is not UTF-8.
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, AnyView, std::less<>>& tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata = {});

/// A tensor that is made while it is written, so that a whole model need never stand in memory.
struct TensorSource {
  DType dtype = DType::kF32;
  Shape shape;
  /// Fills `to` with the bytes of rows (along the first axis, a tensor of less than two axes is one
  /// row) from `row` on. Asked in order, for as many rows as fit 1 MiB, at least one.
  std::function<void(std::int64_t row, std::span<std::byte> to)> read;
  const std::byte* data = nullptr;  ///< where the bytes lie, when they do: then nothing is asked
};

/// The source whose bytes lie in a view, which must outlive it.
TensorSource source_of(const AnyView& view);

/// As write_safetensors, from sources.
void stream_safetensors(const std::filesystem::path& path,
                        const std::map<std::string, TensorSource, std::less<>>& tensors,
                        const std::map<std::string, std::string, std::less<>>& metadata = {});

/// Writes bytes with the same promise: temporary, fsync, rename.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

/// A whole small file as text. Errors: kNotFound, kIo, kResources when larger than `limit` bytes.
std::string read_file(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);

}  // namespace headscope
