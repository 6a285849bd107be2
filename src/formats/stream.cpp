#include "formats/stream.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace headscope {

TensorSource source_of(const AnyView& view) { return {view.dtype, view.shape, nullptr, view.data}; }

void stream(files::AtomicFile& file, const TensorSource& tensor) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const std::size_t bytes = bytes_of(tensor.dtype, count(tensor.shape));
  if (bytes == 0) return;
  if (tensor.data != nullptr) return file.append({tensor.data, bytes});
  const auto rows = static_cast<std::size_t>(tensor.shape.size() < 2 ? 1 : tensor.shape.front());
  const std::size_t row = bytes / rows;
  const std::size_t at_once = std::clamp<std::size_t>(kPiece / row, 1, rows);
  std::vector<std::byte> piece(at_once * row);
  for (std::size_t first = 0; first < rows; first += at_once) {
    const std::span<std::byte> part = std::span(piece).first(std::min(at_once, rows - first) * row);
    tensor.read(static_cast<std::int64_t>(first), part);
    file.append(part);
  }
}

}  // namespace headscope
