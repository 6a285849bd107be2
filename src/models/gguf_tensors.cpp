#include "models/gguf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "models/gguf_config.h"
#include "tensor/quants.h"

namespace headscope::models {

namespace {

std::string with_number(std::string_view pattern, std::int64_t number) {
  std::string out(pattern);
  const std::size_t at = out.find("{}");
  if (at != std::string::npos) out.replace(at, 2, std::to_string(number));
  return out;
}

[[noreturn]] void wrong_shape(const GgufLink& link, const Shape& shape, const std::string& wanted) {
  throw Error(ErrorCode::kShape,
              fmt::format("[gguf] expected {} {}, found {}", link.gguf, wanted, to_string(shape)));
}

/// Where row r of the HF layout lies in GGUF. `rows` is a multiple of what the change asks for.
std::int64_t gguf_row(const GgufLink& link, std::int64_t rows, std::int64_t r) {
  if (link.change == GgufChange::kPairs) {
    const std::int64_t width = rows / link.heads;
    const std::int64_t in_head = r % width;
    return r - in_head + 2 * (in_head % (width / 2)) + in_head / (width / 2);
  }
  if (link.change == GgufChange::kGrouped) {
    const std::int64_t parts = link.queries + 2;
    const std::int64_t width = rows / (link.heads * parts);
    const std::int64_t group = r / (parts * width);
    const std::int64_t part = r / width % parts;
    const std::int64_t head = part < link.queries    ? group * link.queries + part
                              : part == link.queries ? link.heads * link.queries + group
                                                     : link.heads * (link.queries + 1) + group;
    return head * width + r % width;
  }
  return r;
}

void check_rows(const GgufLink& link, const Shape& shape) {
  std::int64_t divisor = 1;
  if (link.change == GgufChange::kPairs) divisor = 2 * link.heads;
  if (link.change == GgufChange::kGrouped) divisor = link.heads * (link.queries + 2);
  if (divisor < 1 || shape.empty() || shape.front() % divisor != 0) {
    wrong_shape(link, shape, fmt::format("to have a multiple of {} rows", divisor));
  }
}

/// Rows of blocks, copied in another order; the numbers of a vector are its rows.
Tensor reordered(const GgufLink& link, const AnyView& view) {
  check_rows(link, view.shape);
  Tensor out(view.dtype, view.shape);
  const std::int64_t rows = view.shape.front();
  const std::size_t bytes = bytes_of(view.dtype, count(view.shape) / rows);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(out.raw() + static_cast<std::size_t>(r) * bytes,
                view.data + static_cast<std::size_t>(gguf_row(link, rows, r)) * bytes,
                bytes);
  }
  return out;
}

template <typename T>
void turn(const T* from, std::int64_t rows, std::int64_t columns, T* to) {
  constexpr std::int64_t kTile = 32;  // so that both sides stay in the cache
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
      for (std::int64_t r = r0; r < std::min(rows, r0 + kTile); ++r) {
        for (std::int64_t c = c0; c < std::min(columns, c0 + kTile); ++c)
          to[c * rows + r] = from[r * columns + c];
      }
    }
  }
}

/// A matrix transposed; blocks are widened first.
Tensor turned(const GgufLink& link, const AnyView& view) {
  if (view.shape.size() != 2) wrong_shape(link, view.shape, "to be a matrix");
  const std::int64_t rows = view.shape[0];
  const std::int64_t columns = view.shape[1];
  if (view.dtype == DType::kF16 || view.dtype == DType::kBF16) {
    Tensor out(view.dtype, {columns, rows});
    turn(reinterpret_cast<const std::uint16_t*>(view.data),
         rows,
         columns,
         reinterpret_cast<std::uint16_t*>(out.raw()));
    return out;
  }
  const Tensor wide = Tensor::f32_from(view);
  Tensor out(DType::kF32, {columns, rows});
  turn(wide.span<float>().data(), rows, columns, out.span<float>().data());
  return out;
}

Tensor less_one(const AnyView& view) {
  Tensor out = Tensor::f32_from(view);
  for (float& x : out.span<float>()) x -= 1.0F;
  return out;
}

void add(GgufModel& model, const GgufLink& link, const AnyView& view) {
  const auto keep = [&](Tensor tensor) {
    model.made.push_back(std::make_shared<const Tensor>(std::move(tensor)));
    model.tensors.insert_or_assign(link.hf, model.made.back()->any());
  };
  switch (link.change) {
    case GgufChange::kPairs:
    case GgufChange::kGrouped:
      return keep(reordered(link, view));
    case GgufChange::kPlusOne:
      return keep(less_one(view));
    case GgufChange::kTurned:
      return keep(turned(link, view));
    default:
      break;
  }
  if (link.hf.find("{}") == std::string::npos) {
    AnyView named = view;
    if (link.change == GgufChange::kOneRow) named.shape.insert(named.shape.begin(), 1);
    model.tensors.insert_or_assign(link.hf, std::move(named));
    return;
  }
  constexpr std::int64_t kMostSlices = 4096;  // a name is made for each
  if (view.shape.size() < 2 || view.shape.front() > kMostSlices)
    wrong_shape(link, view.shape, fmt::format("to be a stack of at most {}", kMostSlices));
  const Shape slice(view.shape.begin() + 1, view.shape.end());
  const std::size_t bytes = bytes_of(view.dtype, count(slice));
  for (std::int64_t e = 0; e < view.shape.front(); ++e) {
    model.tensors.insert_or_assign(
        with_number(link.hf, e),
        AnyView{view.dtype, slice, view.data + static_cast<std::size_t>(e) * bytes});
  }
}

GgufChange change_of(const GgufFamily& family, std::string_view gguf, std::string_view suffix) {
  const bool weight = suffix == ".weight";
  if (family.pairs && (gguf == "attn_q" || gguf == "attn_k")) return GgufChange::kPairs;
  if (family.grouped && gguf == "attn_qkv") return GgufChange::kGrouped;
  if (family.plus_one && weight && gguf.ends_with("norm")) return GgufChange::kPlusOne;
  if (family.turned && weight && (gguf.starts_with("attn_") || gguf.starts_with("ffn_")) &&
      !gguf.ends_with("norm"))
    return GgufChange::kTurned;
  if (gguf == "ffn_gate_inp_shexp") return GgufChange::kOneRow;
  return GgufChange::kNone;
}

}  // namespace

std::vector<GgufLink> gguf_links(const GgufFamily& family, const GgufSizes& sizes) {
  std::vector<GgufLink> links;
  const auto put = [&](const std::string& gguf,
                       const std::string& hf,
                       const std::string& gguf_prefix,
                       const std::string& hf_prefix) {
    if (gguf.ends_with(".weight") || gguf.ends_with(".bias")) {  // names in full
      links.push_back({gguf_prefix + gguf, hf_prefix + hf});
      return;
    }
    for (const char* suffix : {".weight", ".bias"}) {
      GgufLink link{gguf_prefix + gguf + suffix, hf_prefix + hf + suffix};
      link.change = change_of(family, gguf, suffix);
      link.heads = gguf == "attn_q" ? sizes.heads : sizes.kv_heads;
      link.queries = sizes.kv_heads > 0 ? sizes.heads / sizes.kv_heads : 0;
      links.push_back(std::move(link));
    }
  };
  for (const auto& [hf, gguf] : pairs_of(family.once)) put(gguf, hf, "", "");
  std::string layer(family.layer);
  std::string decoder(family.decoder);
  if (sizes.two_norms) layer += " ln_mlp=attn_norm ln_attn=attn_norm_2";
  if (sizes.gated) {
    layer += " layer.1.DenseReluDense.wi_0=ffn_gate layer.1.DenseReluDense.wi_1=ffn_up";
    decoder += " layer.2.DenseReluDense.wi_0=ffn_gate layer.2.DenseReluDense.wi_1=ffn_up";
  }
  const auto put_layers = [&](std::string_view words,
                              std::int64_t count,
                              std::string_view gguf_prefix,
                              std::string_view hf_prefix) {
    const auto names = pairs_of(words);
    for (std::int64_t l = 0; l < count; ++l) {
      for (const auto& [hf, gguf] : names)
        put(gguf, hf, with_number(gguf_prefix, l), with_number(hf_prefix, l));
    }
  };
  put_layers(layer, sizes.layers, family.gguf_prefix, family.prefix);
  if (!decoder.empty()) {
    put_layers(decoder, sizes.decoder_layers, family.gguf_decoder_prefix, family.decoder_prefix);
  }
  return links;
}

namespace {

/// Files from before experts were stacked: "blk.0.ffn_up.3.weight".
void add_single_experts(GgufModel& model, const Gguf& file, const GgufLink& link) {
  const std::string stack = "_exps";
  const std::size_t at = link.gguf.find(stack);
  if (at == std::string::npos) return;
  for (std::int64_t e = 0;; ++e) {
    std::string name = link.gguf;
    const AnyView* view = file.find(name.replace(at, stack.size(), "." + std::to_string(e)));
    if (view == nullptr) return;
    model.tensors.insert_or_assign(with_number(link.hf, e), *view);
  }
}

/// Queries, keys and values in one tensor, one behind the other, where the family has three (phi2, chatglm). `part`
/// is 0, 1 or 2 of them.
void add_part(
    GgufModel& model, const Gguf& file, const GgufLink& link, const GgufSizes& sizes, int part) {
  std::string name = link.gguf;
  const std::size_t at = name.find(".attn_");
  const AnyView* all = file.find(name.replace(at + 6, 1, "qkv"));
  if (all == nullptr) return;
  const std::int64_t heads = sizes.heads + 2 * sizes.kv_heads;
  if (all->shape.empty() || all->shape.size() > 2 || all->shape.front() % heads != 0)
    wrong_shape({name, {}}, all->shape, fmt::format("to have a multiple of {} rows", heads));
  const std::int64_t width = all->shape.front() / heads;
  const std::int64_t first = part == 0 ? 0 : sizes.heads + (part - 1) * sizes.kv_heads;
  AnyView own = *all;
  own.shape.front() = (part == 0 ? sizes.heads : sizes.kv_heads) * width;
  const std::int64_t row = own.shape.size() == 2 ? own.shape[1] : 1;
  own.data += bytes_of(own.dtype, first * width * row);
  add(model, link, own);
}

/// Latent attention in two tensors, keys [H,rank,own] and values [H,value,rank], put together as
/// [H*(own+value),rank].
void add_split_latent(GgufModel& model, const Gguf& file, const GgufLink& link) {
  std::string keys_name = link.gguf;
  std::string values_name = link.gguf;
  const std::size_t at = link.gguf.find("attn_kv_b");
  keys_name.replace(at, 9, "attn_k_b");
  values_name.replace(at, 9, "attn_v_b");
  const AnyView* keys = file.find(keys_name);
  const AnyView* values = file.find(values_name);
  if (keys == nullptr || values == nullptr) return;
  if (keys->shape.size() != 3 || values->shape.size() != 3 || keys->shape[0] != values->shape[0] ||
      keys->shape[1] != values->shape[2]) {
    wrong_shape(
        {keys_name, {}}, keys->shape, "[H,rank,own] beside " + values_name + " [H,value,rank]");
  }
  const std::int64_t heads = keys->shape[0];
  const std::int64_t rank = keys->shape[1];
  const std::int64_t own = keys->shape[2];
  const std::int64_t value = values->shape[1];
  const Tensor k = Tensor::f32_from(*keys);
  const Tensor v = Tensor::f32_from(*values);
  Tensor both(DType::kF32, {heads * (own + value), rank});
  float* to = both.span<float>().data();
  for (std::int64_t h = 0; h < heads; ++h) {
    turn(k.span<float>().data() + h * rank * own, rank, own, to);
    to += own * rank;
    to = std::copy_n(v.span<float>().data() + h * value * rank, value * rank, to);
  }
  model.made.push_back(std::make_shared<const Tensor>(std::move(both)));
  model.tensors.insert_or_assign(link.hf, model.made.back()->any());
}

}  // namespace

GgufModel model_from_gguf(const Gguf& file, bool as_stored) {
  const GgufFamily& family = gguf_family_in(file);
  GgufModel model;
  model.config = config_from_gguf(file, family);
  if (as_stored) {
    model.stored = {family.plus_one,
                    family.pairs,
                    family.grouped,
                    family.turned,
                    family.model_type == "gpt_oss"};
  }
  const GgufSizes sizes = gguf_sizes(file, family);
  std::vector<GgufLink> links = gguf_links(family, sizes);
  constexpr std::string_view kParts[] = {".attn_q.", ".attn_k.", ".attn_v."};
  for (GgufLink& link : links) {
    if (as_stored && link.change != GgufChange::kOneRow) link.change = GgufChange::kNone;
    const AnyView* view = file.find(link.gguf);
    if (view != nullptr)
      add(model, link, *view);
    else if (link.hf.find("{}") != std::string::npos)
      add_single_experts(model, file, link);
    else if (link.gguf.ends_with(".attn_kv_b.weight"))
      add_split_latent(model, file, link);
    for (int part = 0; view == nullptr && part < 3; ++part) {
      if (link.gguf.find(kParts[part]) != std::string::npos)
        add_part(model, file, link, sizes, part);
    }
  }
  return model;
}

std::string gguf_name(const Gguf& file, std::string_view hf) {
  const GgufFamily& family = gguf_family_in(file);
  for (const GgufLink& link : gguf_links(family, gguf_sizes(file, family))) {
    const std::size_t at = link.hf.find("{}");
    if (at == std::string::npos) {
      if (link.hf == hf) return link.gguf;
      continue;
    }
    const std::string_view rest = std::string_view(link.hf).substr(at + 2);
    if (hf.size() <= at + rest.size() || !hf.starts_with(link.hf.substr(0, at)) ||
        !hf.ends_with(rest))
      continue;
    const std::string_view number = hf.substr(at, hf.size() - at - rest.size());
    if (number.find_first_not_of("0123456789") == std::string_view::npos) return link.gguf;
  }
  return "";
}

namespace {

/// Rows of views, widened; the rows of a stack follow one another.
class Rows {
 public:
  Rows(std::vector<AnyView> views, std::int64_t width) : views_(std::move(views)), width_(width) {
    for (const AnyView& view : views_) per_view_ = view.size() / width_;
  }
  void read(std::int64_t row, std::span<float> to) const {
    const AnyView& view = views_.at(static_cast<std::size_t>(row / per_view_));
    // A row of a matrix starts at a whole block; the rows of a vector are its single numbers.
    const std::size_t at = bytes_of(view.dtype, row % per_view_ * width_);
    const Tensor wide = Tensor::f32_from({view.dtype, {width_}, view.data + at});
    std::copy_n(wide.span<float>().begin(), to.size(), to.begin());
  }
  /// Column `c` of a single matrix.
  void read_column(std::int64_t c, std::span<float> to) const {
    const AnyView& view = views_.front();
    const std::size_t bytes = size_of(view.dtype);
    for (std::size_t r = 0; r < to.size(); ++r) {
      const std::size_t at =
          (r * static_cast<std::size_t>(width_) + static_cast<std::size_t>(c)) * bytes;
      std::array<std::byte, 8> one{};
      std::memcpy(one.data(), view.data + at, bytes);
      to[r] = Tensor::f32_from({view.dtype, {1}, one.data()}).span<float>()[0];
    }
  }

 private:
  std::vector<AnyView> views_;
  std::int64_t width_;
  std::int64_t per_view_ = 1;
};

/// The row of the HF layout that GGUF has as row r: the inverse of gguf_row.
std::vector<std::int64_t> hf_rows(const GgufLink& link, std::int64_t rows) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(rows));
  for (std::int64_t r = 0; r < rows; ++r)
    out[static_cast<std::size_t>(gguf_row(link, rows, r))] = r;
  return out;
}

}  // namespace

TensorSource gguf_source(const GgufLink& link, std::vector<AnyView> views, DType dtype) {
  Shape shape = views.front().shape;
  const bool turned = link.change == GgufChange::kTurned;
  if (link.hf.find("{}") != std::string::npos)
    shape.insert(shape.begin(), static_cast<std::int64_t>(views.size()));
  if (link.change == GgufChange::kOneRow) shape.erase(shape.begin());
  if (turned) {
    if (shape.size() != 2) wrong_shape(link, shape, "to be a matrix");
    std::swap(shape[0], shape[1]);
  }
  if (link.change == GgufChange::kPairs || link.change == GgufChange::kGrouped)
    check_rows(link, shape);
  // Vectors whose numbers change places are read number by number, all others by rows.
  const bool by_number = shape.size() == 1 &&
                         (link.change == GgufChange::kPairs || link.change == GgufChange::kGrouped);
  const std::int64_t width = by_number || shape.empty() ? 1 : shape.back();
  const std::int64_t rows = count(shape) / width;
  auto source = std::make_shared<const Rows>(std::move(views), turned ? rows : width);
  auto order = std::make_shared<const std::vector<std::int64_t>>(hf_rows(link, rows));
  const std::size_t row_bytes = bytes_of(dtype, width);
  // Rows as a TensorSource counts them are along the first axis; ours along all but the last.
  const std::int64_t per_row = shape.size() < 2 ? rows : rows / shape.front();
  const bool plus_one = link.change == GgufChange::kPlusOne;
  return {dtype, shape, [=](std::int64_t first, std::span<std::byte> to) {
            std::vector<float> wide(static_cast<std::size_t>(width));
            for (std::size_t i = 0; i * row_bytes < to.size(); ++i) {
              const auto r = first * per_row + static_cast<std::int64_t>(i);
              if (turned) {
                source->read_column(r, wide);
              } else {
                source->read((*order)[static_cast<std::size_t>(r)], wide);
              }
              if (plus_one) {
                for (float& x : wide) x += 1.0F;
              }
              quants::quantise(dtype, wide, to.data() + i * row_bytes);
            }
          }};
}

}  // namespace headscope::models
