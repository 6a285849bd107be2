#include "headscope/gguf.h"

#include <fmt/format.h>

#include <cstdint>
#include <new>
#include <utility>

#include "formats/gguf_format.h"
#include "formats/missing.h"

namespace headscope {

Gguf Gguf::parse(std::span<const std::byte> bytes, std::string_view name) try {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % gguf::kLeastAlignment != 0) {
    throw Error(ErrorCode::kUsage, fmt::format("[{}] expected bytes aligned to 8", name));
  }
  Gguf out;
  out.name_ = name;
  gguf::Header header = gguf::read_header(bytes, name);
  out.metadata_ = std::make_shared<json::Value>(std::move(header.metadata));
  while (!header.entries.empty()) {  // Moved one by one: the two maps never stand whole together.
    auto node = header.entries.extract(header.entries.begin());
    AnyView& view = node.mapped().view;
    view.data = bytes.data() + header.data + node.mapped().offset;
    out.tensors_.emplace_hint(out.tensors_.end(), std::move(node.key()), std::move(view));
  }
  return out;
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::kResources, fmt::format("[{}] memory ran out reading the metadata", name));
}

Gguf Gguf::open_file(const std::filesystem::path& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  Gguf out = parse(file->bytes(), path.string());
  out.files_.push_back(std::move(file));
  return out;
}

Gguf Gguf::open(const std::filesystem::path& path) {
  Gguf out = open_file(path);
  const auto parts = json::get_or<std::uint16_t>(out.metadata(), "split.count", 1, out.name_);
  if (parts <= 1) return out;
  const std::string name = path.filename().string();
  const std::string first = fmt::format("-{:05}-of-{:05}.gguf", 1, parts);
  if (!name.ends_with(first)) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected the first of {} files, NAME{}", out.name_, parts, first));
  }
  const std::string stem = name.substr(0, name.size() - first.size());
  for (unsigned part = 2; part <= parts; ++part) {
    out.merge(
        open_file(path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, part, parts)));
  }
  return out;
}

void Gguf::merge(Gguf part) {
  tensors_.merge(part.tensors_);
  if (!part.tensors_.empty()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} in one file only, found it again in {}",
                            name_,
                            json::quote(part.tensors_.begin()->first),
                            json::quote(std::filesystem::path(part.name_).filename().string())));
  }
  for (auto& file : part.files_) files_.push_back(std::move(file));
}

const AnyView* Gguf::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const AnyView& Gguf::at(std::string_view name) const {
  if (const AnyView* view = find(name)) return *view;
  missing_tensor(name_, name, tensors_);
}

}  // namespace headscope
