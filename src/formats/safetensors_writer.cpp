#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "formats/files.h"
#include "formats/json.h"
#include "formats/safetensors_header.h"
#include "formats/stream.h"
#include "headscope/safetensors.h"

namespace headscope {

namespace {

using Views = std::map<std::string, AnyView, std::less<>>;
using Tensors = std::map<std::string, TensorSource, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;
using Order = std::vector<const Tensors::value_type*>;

[[noreturn]] void fail(ErrorCode code, const std::string& complaint) {
  throw Error(code, "[safetensors] " + complaint);
}

/// A text as JSON writes it, in quotes.
std::string in_quotes(const std::string& text) {
  try {
    return json::Value(text).dump();
  } catch (const json::Value::exception&) {
    fail(ErrorCode::kInput, "expected UTF-8, found other bytes in " + json::describe(text));
  }
}

std::size_t bytes_of(const TensorSource& tensor) {
  return headscope::bytes_of(tensor.dtype, count(tensor.shape));
}

void check(const std::string& name, const TensorSource& tensor) {
  const auto elements = static_cast<std::size_t>(count(tensor.shape));
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(elements, size_of(tensor.dtype), &bytes) ||
      tensor.shape.size() > safetensors::kMaxRank) {
    fail(ErrorCode::kShape,
         fmt::format("impossible shape {} of {}", to_string(tensor.shape), name));
  }
  if (name == safetensors::kMetadataKey) {
    fail(ErrorCode::kUsage, "expected the name of a tensor, found __metadata__");
  }
}

void check_data(const std::string& name, const AnyView& view) {
  if (view.data != nullptr || view.size() == 0) return;
  fail(ErrorCode::kShape,
       fmt::format("expected {} bytes for {} {}, found no data",
                   view.bytes(),
                   in_quotes(name),
                   to_string(view.shape)));
}

/// Widest elements first, so that every tensor starts at a multiple of its element's size without
/// padding, which the format forbids; names within a width, since the map is in that order.
Order file_order(const Tensors& tensors) {
  Order order;
  order.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    check(tensor.first, tensor.second);
    order.push_back(&tensor);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype) > size_of(b->second.dtype);
  });
  return order;
}

/// The JSON, padded with spaces so that the numbers after it start at a multiple of 8.
std::string header_text(const Order& order, const Metadata& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += in_quotes(std::string(safetensors::kMetadataKey)) + ":{";
    for (const auto& [key, value] : metadata) {
      text += fmt::format("{}:{},", in_quotes(key), in_quotes(value));
    }
    text.back() = '}';
    text += ',';
  }
  std::size_t begin = 0;
  for (const auto* tensor : order) {
    const TensorSource& source = tensor->second;
    text += fmt::format(R"({}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}},)",
                        in_quotes(tensor->first),
                        safetensors::spelling(source.dtype),
                        to_string(source.shape),
                        begin,
                        begin + bytes_of(source));
    begin += bytes_of(source);
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > safetensors::kMaxHeader || metadata.size() > safetensors::kMaxMetadata ||
      order.size() > safetensors::kMaxTensors) {
    fail(ErrorCode::kUnsupported,
         fmt::format("expected a header that readers accept, found {} bytes for {} tensors",
                     text.size(),
                     order.size()));
  }
  return text;
}

}  // namespace

void stream_safetensors(const std::filesystem::path& path,
                        const Tensors& tensors,
                        const Metadata& metadata) {
  const Order order = file_order(tensors);
  const std::string header = header_text(order, metadata);
  std::array<std::byte, safetensors::kLengthBytes> length{};
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<std::byte>(header.size() >> (8 * i));
  }
  files::AtomicFile file(path);
  file.append(length);
  file.append(header);
  for (const auto* tensor : order) stream(file, tensor->second);
  file.commit();
}

void write_safetensors(const std::filesystem::path& path,
                       const Views& tensors,
                       const Metadata& metadata) {
  Tensors sources;
  for (const auto& [name, view] : tensors) {
    check_data(name, view);
    sources.emplace_hint(sources.end(), name, source_of(view));
  }
  stream_safetensors(path, sources, metadata);
}

}  // namespace headscope
