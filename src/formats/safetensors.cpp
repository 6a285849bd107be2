#include "headscope/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <set>
#include <system_error>
#include <utility>

#include "formats/json.h"
#include "formats/missing.h"
#include "formats/safetensors_header.h"

namespace headscope {

namespace {

namespace fs = std::filesystem;
using safetensors::Entry;
using safetensors::Header;

/// What a tensor of no elements points at, wherever the file puts it.
alignas(64) constexpr std::byte kNothing[64] = {};

bool aligned(const std::byte* data, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % size_of(dtype) == 0;
}

std::size_t rounded(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

/// Bytes other than 0 and 1 are no bools to C++; reading them as such would be undefined.
void check_bool(const AnyView& view, std::string_view name, std::string_view file) {
  const std::byte* end = view.data + view.bytes();
  const std::byte* odd = std::find_if(view.data, end, [](std::byte b) { return b > std::byte{1}; });
  if (odd == end) return;
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}: {}] expected BOOL bytes of 0 or 1, found {}",
                          file,
                          json::quote(name),
                          std::to_integer<int>(*odd)));
}

bool is_plain_name(const std::string& shard) {
  return !shard.empty() && shard != "." && shard != ".." &&
         shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

/// Room for the tensors that lie where their dtype cannot be read; nullptr when there are none.
std::shared_ptr<Tensor> room_for_unaligned(const Header& header, const std::byte* data) {
  std::size_t bytes = 0;
  for (const auto& [name, entry] : header.entries) {
    if (!aligned(data + entry.begin, entry.dtype)) bytes += rounded(entry.end - entry.begin);
  }
  if (bytes == 0) return nullptr;
  return std::make_shared<Tensor>(DType::kU8, Shape{static_cast<std::int64_t>(bytes)});
}

}  // namespace

Safetensors Safetensors::parse(std::span<const std::byte> bytes, std::string_view name) try {
  Safetensors out;
  out.name_ = name;
  Header header = safetensors::read_header(bytes, name);
  out.metadata_ = std::move(header.metadata);
  const std::byte* data = bytes.data() + header.data;
  const std::shared_ptr<Tensor> copies = room_for_unaligned(header, data);
  std::size_t copied = 0;
  while (!header.entries.empty()) {  // Moved one by one: the two maps never stand whole together.
    auto node = header.entries.extract(header.entries.begin());
    Entry& entry = node.mapped();
    const std::size_t size = entry.end - entry.begin;
    AnyView view{entry.dtype, std::move(entry.shape), data + entry.begin};
    if (size == 0) {
      view.data = kNothing;
    } else if (!aligned(view.data, view.dtype)) {
      std::memcpy(copies->raw() + copied, view.data, size);
      view.data = copies->raw() + copied;
      copied += rounded(size);
    }
    if (view.dtype == DType::kBool) check_bool(view, node.key(), name);
    out.tensors_.emplace_hint(out.tensors_.end(), std::move(node.key()), std::move(view));
  }
  if (copies != nullptr) out.copies_.push_back(copies);
  return out;
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::kResources, fmt::format("[{}] memory ran out reading the header", name));
}

Safetensors Safetensors::open_file(const fs::path& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  Safetensors out = parse(file->bytes(), path.string());
  out.files_.push_back(std::move(file));
  return out;
}

Safetensors Safetensors::open_index(const fs::path& path) {
  constexpr std::size_t kMaxIndex = safetensors::kMaxHeader;
  Safetensors out;
  out.name_ = path.string();
  const json::Value index = json::parse(read_file(path, kMaxIndex), out.name_, {.depth = 16});
  const json::Value* map = json::find(index, "weight_map", out.name_);
  if (map == nullptr || !map->is_object()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected \"weight_map\" to be an object, found {}",
                            out.name_,
                            map == nullptr ? "none" : json::describe(*map)));
  }
  std::set<std::string, std::less<>> shards;
  for (const auto& [tensor, shard] : map->items()) {
    const auto file = json::as<std::string>(shard, tensor, out.name_);
    if (!is_plain_name(file)) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected the name of a file beside the index for {}, found {}",
                              out.name_,
                              json::quote(tensor),
                              json::quote(file)));
    }
    if (!shards.insert(file).second) continue;
    std::error_code ignored;
    if (!fs::exists(path.parent_path() / file, ignored)) {
      throw Error(
          ErrorCode::kNotFound,
          fmt::format("[{}] expected the shard {} of {} beside the index, found no such file",
                      out.name_,
                      json::quote(file),
                      json::quote(tensor)));
    }
  }
  for (const std::string& shard : shards) {
    Safetensors part = open_file(path.parent_path() / shard);
    for (const auto& [tensor, file] : map->items()) {
      if (file == shard && part.find(tensor) == nullptr) {
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected {} in the shard {}, found none",
                                out.name_,
                                json::quote(tensor),
                                json::quote(shard)));
      }
    }
    out.merge(std::move(part));
  }
  return out;
}

void Safetensors::merge(Safetensors shard) {
  metadata_.merge(shard.metadata_);  // Shards repeat the same few lines; the first is kept.
  tensors_.merge(shard.tensors_);
  if (!shard.tensors_.empty()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} in one shard only, found it again in {}",
                            name_,
                            json::quote(shard.tensors_.begin()->first),
                            json::quote(fs::path(shard.name_).filename().string())));
  }
  for (auto& file : shard.files_) files_.push_back(std::move(file));
  for (auto& copy : shard.copies_) copies_.push_back(std::move(copy));
}

Safetensors Safetensors::open(const fs::path& path) {
  constexpr std::string_view kFile = "model.safetensors";
  constexpr std::string_view kIndex = "model.safetensors.index.json";
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    return path.string().ends_with(".index.json") ? open_index(path) : open_file(path);
  }
  if (fs::exists(path / kFile, ignored)) return open_file(path / kFile);
  if (fs::exists(path / kIndex, ignored)) return open_index(path / kIndex);
  // Pickles may run any code while they are read.
  const bool pickled = fs::exists(path / "pytorch_model.bin", ignored) ||
                       fs::exists(path / "pytorch_model.bin.index.json", ignored);
  throw Error(ErrorCode::kNotFound,
              fmt::format("[{}] expected {} or {}, found {}",
                          path.string(),
                          kFile,
                          kIndex,
                          pickled ? "only Python's pytorch_model.bin; from_pretrained and then "
                                    "save_pretrained of Transformers write it as safetensors"
                                  : "neither"));
}

const AnyView* Safetensors::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const AnyView& Safetensors::at(std::string_view name) const {
  if (const AnyView* view = find(name)) return *view;
  missing_tensor(name_, name, tensors_);
}

}  // namespace headscope
