#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "models/census.h"
#include "tensor/quants.h"

namespace headscope::models {

namespace {

/// Numbers that repeat: a multiple of a block of any dtype, and of no usual width.
constexpr std::int64_t kTile = 32 * 2053;

Tensor tile(DType dtype, const Tensor& normal) {
  Tensor out(dtype, normal.shape());
  quants::quantise(dtype, normal.span<float>(), out.raw());
  return out;
}

/// Files are mapped in small pages, which costs what they are read with: so do these.
void in_small_pages(Tensor& t) {
  constexpr std::uintptr_t kPage = 4096;
  const auto begin = (reinterpret_cast<std::uintptr_t>(t.raw()) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<std::uintptr_t>(t.raw()) + t.bytes()) / kPage * kPage;
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_NOHUGEPAGE);
}

Tensor normal_numbers() {
  // Small enough for deep stacks, large enough for no denormals anywhere.
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  Tensor out(DType::kF32, {kTile});
  for (float& x : out.span<float>()) x = normal(random);
  return out;
}

}  // namespace

Tensors drawn(const Census& census, DType dtype, Linear::Layout layout) {
  using Kind = WantedTensor::Kind;
  if (!quants::can_quantise(dtype)) {
    throw Error(ErrorCode::kDType,
                fmt::format("[census] expected a dtype that is written here, found {}",
                            headscope::name(dtype)));
  }
  // Matrices that lie [in,out] are packed in f32 whatever they were.
  const DType own = layout == Linear::Layout::kInOut && is_quantised(dtype) ? DType::kF32 : dtype;
  const Tensor normal = normal_numbers();
  std::map<DType, Tensor> tiles;
  auto kept = std::make_shared<std::vector<Tensor>>();
  Tensors out;
  out.file = "drawn";
  std::int64_t phase = 0;
  for (const WantedTensor& wanted : census.tensors) {
    const DType type = kept_as(wanted, own);
    Tensor t(type, wanted.shape);
    in_small_pages(t);
    if (wanted.kind == Kind::kMatrix || wanted.kind == Kind::kTable) {
      auto& from = tiles[type];
      if (from.empty()) from = tile(type, normal);
      // Tensors begin at different places of the tile.
      phase = (phase + 32 * 977) % kTile;
      std::size_t at = bytes_of(type, phase);
      for (std::size_t done = 0; done < t.bytes(); at = 0) {
        const std::size_t part = std::min(t.bytes() - done, from.bytes() - at);
        std::memcpy(t.raw() + done, from.raw() + at, part);
        done += part;
      }
    } else {
      std::ranges::fill(t.span<float>(), wanted.kind == Kind::kNorm ? 1.0F : 0.0F);
    }
    kept->push_back(std::move(t));
    out.by_name.emplace(wanted.name, kept->back().any());
  }
  out.owner = std::move(kept);
  return out;
}

}  // namespace headscope::models
