// GGUF files as older, newer and other programs write them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "formats/json.h"
#include "formats/scratch.h"
#include "golden/golden.h"
#include "headscope/gguf.h"
#include "headscope/model.h"
#include "models/gguf_convert.h"
#include "models/golden_gguf.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;
using golden::config_in;
using golden::run_of;
using golden::worst_of;
using json::Value;

/// The same model as older or newer programs write it.
void expect_same_model(
    const std::string& family,
    const std::function<void(std::vector<std::pair<std::string, Tensor>>&, Value&)>& change) {
  SCOPED_TRACE(family);
  const fs::path golden = golden::golden_dir() / "families" / family;
  const Scratch scratch;
  models::convert_to_gguf(golden, scratch / "now.gguf", DType::kF32);
  const Gguf now = Gguf::open(scratch / "now.gguf");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, view] : now.tensors()) tensors.emplace_back(name, Tensor::copy_of(view));
  Value metadata = now.metadata();
  change(tensors, metadata);
  std::vector<std::pair<std::string, TensorSource>> sources;
  for (const auto& [name, tensor] : tensors) sources.emplace_back(name, source_of(tensor.any()));
  write_gguf(scratch / "other.gguf", metadata, sources);
  const Safetensors io = Safetensors::open(golden / "io.safetensors");
  const headscope::Run expected = run_of(Model::load(golden.string()), io);
  const headscope::Run found = run_of(Model::load((scratch / "other.gguf").string()), io);
  EXPECT_LE(worst_of(found.logits, expected.logits.any()), 2e-5);
}

TEST(GoldenGguf, OlderAndNewerLayoutsAreTheSameModel) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  // Experts that are tensors of their own.
  expect_same_model("mixtral", [](auto& tensors, Value&) {
    std::vector<std::pair<std::string, Tensor>> out;
    for (const auto& [name, tensor] : tensors) {
      const std::size_t at = name.find("_exps");
      if (at == std::string::npos) {
        out.emplace_back(name, Tensor::copy_of(tensor.any()));
        continue;
      }
      AnyView slice = tensor.any();
      slice.shape.erase(slice.shape.begin());
      for (std::int64_t e = 0; e < tensor.dim(0); ++e, slice.data += slice.bytes()) {
        std::string own = name;
        out.emplace_back(own.replace(at, 5, "." + std::to_string(e)), Tensor::copy_of(slice));
      }
    }
    tensors = std::move(out);
  });
  // Latent attention with keys turned and values apart.
  for (const char* family : {"deepseek_v2", "deepseek_v3"}) {
    const Value config = config_in(golden::golden_dir() / "families" / family);
    const auto size = [&](const char* key) { return config[key].get<std::int64_t>(); };
    const std::int64_t own = size("qk_nope_head_dim");
    const std::int64_t value = size("v_head_dim");
    const std::int64_t rank = size("kv_lora_rank");
    const std::int64_t heads = size("num_attention_heads");
    const std::int64_t turned = size("qk_rope_head_dim");
    expect_same_model(family, [&](auto& tensors, Value& metadata) {
      metadata["deepseek2.attention.key_length_mla"] = own + turned;
      metadata["deepseek2.attention.value_length_mla"] = value;
      metadata["deepseek2.attention.key_length"] = rank + turned;
      metadata["deepseek2.attention.value_length"] = rank;
      metadata["deepseek2.attention.head_count_kv"] = 1;
      std::vector<std::pair<std::string, Tensor>> more;
      for (auto& [name, tensor] : tensors) {
        const std::size_t at = name.find("attn_kv_b");
        if (at == std::string::npos) continue;
        const std::string layer = name.substr(0, at);
        Tensor k(DType::kF32, {heads, rank, own});
        Tensor v(DType::kF32, {heads, value, rank});
        const auto from = tensor.template view<float, 2>();
        for (std::int64_t h = 0; h < heads; ++h) {
          for (std::int64_t r = 0; r < rank; ++r) {
            for (std::int64_t d = 0; d < own; ++d)
              k.view<float, 3>()(h, r, d) = from(h * (own + value) + d, r);
            for (std::int64_t d = 0; d < value; ++d)
              v.view<float, 3>()(h, d, r) = from(h * (own + value) + own + d, r);
          }
        }
        more.emplace_back(layer + "attn_k_b.weight", std::move(k));
        more.emplace_back(layer + "attn_v_b.weight", std::move(v));
      }
      std::erase_if(tensors,
                    [](const auto& t) { return t.first.find("attn_kv_b") != std::string::npos; });
      for (auto& one : more) tensors.push_back(std::move(one));
    });
  }
}

/// phi2 and chatglm are published with queries, keys and values in one tensor.
TEST(GoldenGguf, QueriesKeysAndValuesInOneTensorAreTheSameModel) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  for (const char* family : {"phi", "glm"}) {
    int joined = 0;
    expect_same_model(family, [&](auto& tensors, Value&) {
      std::vector<std::pair<std::string, Tensor>> out;
      for (const auto& [name, tensor] : tensors) {
        const std::size_t at = name.find("attn_q.");
        if (name.find("attn_k.") != std::string::npos || name.find("attn_v.") != std::string::npos)
          continue;
        if (at == std::string::npos) {
          out.emplace_back(name, Tensor::copy_of(tensor.any()));
          continue;
        }
        std::vector<const Tensor*> parts;
        Shape shape = tensor.shape();
        shape[0] = 0;
        for (const char* part : {"q", "k", "v"}) {
          std::string wanted = name;
          wanted.replace(at + 5, 1, part);
          const auto found = std::find_if(
              tensors.begin(), tensors.end(), [&](const auto& t) { return t.first == wanted; });
          ASSERT_NE(found, tensors.end()) << wanted;
          parts.push_back(&found->second);
          shape[0] += found->second.dim(0);
        }
        Tensor all(tensor.dtype(), shape);
        std::byte* to = all.raw();
        for (const Tensor* part : parts) to = std::copy_n(part->raw(), part->bytes(), to);
        std::string own = name;
        out.emplace_back(own.replace(at + 5, 1, "qkv"), std::move(all));
        ++joined;
      }
      tensors = std::move(out);
    });
    EXPECT_GE(joined, 4) << family;  // weights and biases of two layers
  }
}

}  // namespace
}  // namespace headscope
