// Every case of golden/attention with rotary positions, on every instruction set of this machine:
// the turn itself, and focus on what we turned.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "attention/focus_case.h"
#include "golden/golden.h"
#include "kernels/isa.h"

namespace headscope {
namespace {

using golden::error;
using golden::floats;
using golden::FocusCase;

Rotary rotary_of(const std::filesystem::path& file) {
  const auto json = nlohmann::json::parse(Safetensors::open(file).metadata().at("case"));
  const auto& rope = json.at("rope");
  return Rotary::plain(rope.at("style") == "gptj" ? Rotary::Style::kGptj : Rotary::Style::kNeox,
                       rope.at("width").get<std::int64_t>(),
                       rope.at("base").get<double>());
}

Tensor positions_of(const FocusCase& c, const char* name) {
  const auto from = c.view<std::int32_t, 1>(name);
  Tensor positions(DType::kI64, {1, from.shape[0]});
  for (std::int64_t t = 0; t < from.shape[0]; ++t)
    positions.view<std::int64_t, 2>()(0, t) = from(t);
  return positions;
}

// The turned q or k of a case; two roundings of a pair and one of the golden itself.
Tensor turned(const FocusCase& c, const Rotary& rotary, const std::string& name) {
  Tensor x = Tensor::copy_of(c.tensor(name.c_str()));
  const Tensor positions = positions_of(c, (name + "_pos").c_str());
  rotate(rotary, x.view<float, 4>(), positions.view<std::int64_t, 2>());
  EXPECT_LE(error(x.span<float>(), floats(c.tensor((name + "_rotated").c_str()))), 4 * 0x1p-24)
      << name;
  return x;
}

void check_case(const FocusCase& c, const Rotary& rotary) {
  const Tensor q = turned(c, rotary, "q");
  const Tensor k = turned(c, rotary, "k");
  FocusInput in = c.input();
  in.q = q.view<float, 4>();
  in.k = k.view<float, 4>();
  const auto [B, H, Tq, D] = in.q.shape;
  Tensor out(DType::kF32, {B, H, Tq, in.v.shape[3]});
  focus(in, {out.view<float, 4>(), {}});
  double largest_v = 0.0;
  for (float v : floats(c.tensor("v"))) largest_v = std::max(largest_v, std::abs(double{v}));
  EXPECT_LE(error(out.span<float>(), floats(c.tensor("out")), largest_v), 2 * c.tolerance());
}

TEST(GoldenRotary, EveryCaseOnEveryInstructionSet) {
  HEADSCOPE_REQUIRE_GOLDEN("attention");
  int ran = 0;
  for (const kernels::Table* table : kernels::tables()) {
    kernels::use(table->name);
    SCOPED_TRACE(std::string(table->name));
    for (const auto& file : golden::files("attention", ".safetensors")) {
      const FocusCase c(file);
      if (!c.has("q_rotated")) continue;
      SCOPED_TRACE(file.stem().string());
      check_case(c, rotary_of(file));
      ++ran;
    }
  }
  kernels::use("auto");
  EXPECT_GT(ran, 0);
}

}  // namespace
}  // namespace headscope
