#include "models/gguf_experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "tensor/quants.h"

namespace headscope::models {

namespace {

constexpr std::int64_t kBlock = 32;  // numbers of MXFP4

[[noreturn]] void unfit(const std::string& name, std::string_view wanted, const AnyView& found) {
  throw Error(ErrorCode::kShape,
              fmt::format("[convert] expected {} {}, found {} {}",
                          name,
                          wanted,
                          headscope::name(found.dtype),
                          to_string(found.shape)));
}

/// Every `step`-th row of a stack, from `first` on.
struct Part {
  std::int64_t step = 1, first = 0;
};

AnyView expert(const AnyView& stack, std::int64_t e) {
  AnyView one = stack;
  one.shape.erase(one.shape.begin());
  one.data += static_cast<std::size_t>(e) * one.bytes();
  return one;
}

/// Rows that lie as columns.
TensorSource turned(const std::string& name, const AnyView& stack, Part part, DType wanted) {
  if (stack.shape.size() != 3 || stack.shape[2] % part.step != 0)
    unfit(name, fmt::format("[E,in,{}out]", part.step > 1 ? "2*" : ""), stack);
  const std::int64_t columns = stack.shape[1];
  const std::int64_t rows = stack.shape[2] / part.step;
  const DType dtype = columns % block_of(wanted).numbers == 0 ? wanted : DType::kF16;
  const auto read = [=](std::int64_t first, std::span<std::byte> to) {
    const std::size_t row_bytes = bytes_of(dtype, columns);
    std::vector<float> row(static_cast<std::size_t>(columns));
    for (std::int64_t e = first; !to.empty(); ++e) {
      const Tensor wide = Tensor::f32_from(expert(stack, e));
      const auto from = wide.view<float, 2>();
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t k = 0; k < columns; ++k)
          row[static_cast<std::size_t>(k)] = from(k, r * part.step + part.first);
        quants::quantise(dtype, row, to.data());
        to = to.subspan(row_bytes);
      }
    }
  };
  return {dtype, {stack.shape[0], rows, columns}, read};
}

/// Numbers i and i + 16 of a block share a byte in GGUF, numbers 2i and 2i + 1 in Hugging Face's files.
void repack(const std::byte* pairs, std::byte exponent, std::byte* to) {
  const auto number = [&](int i) { return (pairs[i / 2] >> (4 * (i % 2))) & std::byte{15}; };
  *to++ = exponent;
  for (int i = 0; i < kBlock / 2; ++i) *to++ = number(i) | number(i + 16) << 4;
}

TensorSource repacked(const std::string& name,
                      const AnyView& blocks,
                      const AnyView* scales,
                      Part part) {
  const bool fits = blocks.dtype == DType::kU8 && blocks.shape.size() == 4 &&
                    blocks.shape[3] == kBlock / 2 && blocks.shape[1] % part.step == 0;
  if (!fits) unfit(name + "_blocks", "u8 [E,out,in/32,16]", blocks);
  const Shape shape(blocks.shape.begin(), blocks.shape.end() - 1);
  if (scales == nullptr) {
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("[convert] expected a tensor {}, found none", json::quote(name + "_scales")));
  }
  if (scales->dtype != DType::kU8 || scales->shape != shape)
    unfit(name + "_scales", "u8 " + to_string(shape), *scales);
  const std::int64_t rows = shape[1] / part.step;
  const std::int64_t each = shape[2];  // blocks of a row
  const auto read = [=, from = blocks.data, exponents = scales->data](std::int64_t first,
                                                                      std::span<std::byte> to) {
    constexpr std::size_t kBytes = 1 + kBlock / 2;
    for (std::int64_t n = first * rows; !to.empty(); ++n) {
      const std::int64_t row = n / rows * shape[1] + n % rows * part.step + part.first;
      for (std::int64_t b = row * each; b < (row + 1) * each; ++b) {
        repack(from + b * (kBlock / 2), exponents[b], to.data());
        to = to.subspan(kBytes);
      }
    }
  };
  return {DType::kMXFP4, {shape[0], rows, each * kBlock}, read};
}

TensorSource biases(const std::string& name, const AnyView& stack, Part part) {
  if (stack.shape.size() != 2 || stack.shape[1] % part.step != 0)
    unfit(name, fmt::format("[E,{}out]", part.step > 1 ? "2*" : ""), stack);
  const std::int64_t n = stack.shape[1] / part.step;
  const auto read = [=](std::int64_t first, std::span<std::byte> to) {
    for (std::int64_t e = first; !to.empty(); ++e) {
      const Tensor wide = Tensor::f32_from(expert(stack, e));
      for (std::int64_t i = 0; i < n; ++i, to = to.subspan(sizeof(float)))
        std::memcpy(to.data(),
                    &wide.span<float>()[static_cast<std::size_t>(i * part.step + part.first)],
                    sizeof(float));
    }
  };
  return {DType::kF32, {stack.shape[0], n}, read};
}

/// [E,C,W] of stacks [E,W,C], or [E,N] of stacks [E,N]; of two, their numbers in turn along the last axis.
TensorSource turned_back(std::vector<AnyView> stacks, DType dtype) {
  Shape shape = stacks.front().shape;
  const auto parts = static_cast<std::int64_t>(stacks.size());
  const std::int64_t rows = shape[1];
  const std::int64_t columns = shape.size() == 3 ? shape[2] : 1;
  if (shape.size() == 3) std::swap(shape[1], shape[2]);
  shape.back() *= parts;
  const auto read = [=, stacks = std::move(stacks)](std::int64_t first, std::span<std::byte> to) {
    std::vector<float> all(static_cast<std::size_t>(columns * rows * parts));
    const std::size_t bytes = bytes_of(dtype, static_cast<std::int64_t>(all.size()));
    for (std::int64_t e = first; !to.empty(); ++e, to = to.subspan(bytes)) {
      for (std::int64_t p = 0; p < parts; ++p) {
        const Tensor wide = Tensor::f32_from(expert(stacks[static_cast<std::size_t>(p)], e));
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t k = 0; k < columns; ++k)
            all[static_cast<std::size_t>((k * rows + r) * parts + p)] =
                wide.span<float>()[static_cast<std::size_t>(r * columns + k)];
        }
      }
      quants::quantise(dtype, all, to.data());
    }
  };
  return {dtype, shape, read};
}

}  // namespace

std::optional<TensorSource> experts_for_gguf(const GgufLink& link,
                                             const TakeTensor& take,
                                             DType dtype) {
  // "model.layers.0.mlp.experts.{}.gate_proj.weight"
  const bool down = link.gguf.find("ffn_down_exps") != std::string::npos;
  const Part part = down                                                   ? Part{}
                    : link.gguf.find("ffn_gate_exps") != std::string::npos ? Part{2, 0}
                                                                           : Part{2, 1};
  const std::string name =
      link.hf.substr(0, link.hf.find("{}")) + (down ? "down_proj" : "gate_up_proj");
  if (link.gguf.ends_with(".bias")) {
    const AnyView* found = take(name + "_bias");
    if (found == nullptr) return std::nullopt;
    return biases(name + "_bias", *found, part);
  }
  if (const AnyView* blocks = take(name + "_blocks"))
    return repacked(name, *blocks, take(name + "_scales"), part);
  const AnyView* plain = take(name);
  if (plain == nullptr) return std::nullopt;
  return turned(name, *plain, part, dtype);
}

void put_experts(const Gguf& file,
                 std::int64_t layers,
                 DType dtype,
                 std::map<std::string, TensorSource, std::less<>>& out) {
  for (std::int64_t l = 0; l < layers; ++l) {
    for (const bool bias : {false, true}) {
      const auto at = [&](const char* part) -> const AnyView& {
        const std::string name =
            fmt::format("blk.{}.ffn_{}_exps.{}", l, part, bias ? "bias" : "weight");
        const AnyView& found = file.at(name);
        if (found.shape.size() != (bias ? 2U : 3U))
          unfit(name, bias ? "[E,out]" : "[E,out,in]", found);
        return found;
      };
      const AnyView& gate = at("gate");
      const AnyView& up = at("up");
      if (gate.shape != up.shape)
        unfit(fmt::format("blk.{}.ffn_up_exps", l), to_string(gate.shape), up);
      const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", l);
      const char* ending = bias ? "_bias" : "";
      out.insert_or_assign(prefix + "gate_up_proj" + ending, turned_back({gate, up}, dtype));
      out.insert_or_assign(prefix + "down_proj" + ending, turned_back({at("down")}, dtype));
    }
  }
}

}  // namespace headscope::models
