#include "tokenizers/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/json.h"
#include "tokenizers/jinja_text.h"

namespace headscope::jinja {

namespace {

constexpr int kNesting = 100;

[[noreturn]] void fail(std::string message) {
  throw Failure{ErrorCode::kInput, std::move(message)};
}

int depth_of(const Value& value) {
  if (value.is_sequence()) return value.sequence().depth;
  if (value.is_dict()) return value.dict().depth;
  return 0;
}

int deeper(int depth, const Value& item) {
  const int below = depth_of(item) + 1;
  if (below > kNesting) {
    throw Failure{ErrorCode::kResources,
                  fmt::format("expected at most {} nested lists, found more", kNesting)};
  }
  return std::max(depth, below);
}

// Equal keys have equal names: 1, 1.0 and true are one key in Python.
std::string name_of_key(const Value& key) {
  if (key.is_text()) return 's' + key.text();
  if (key.is_none()) return "n";
  if (key.is_bool() || key.is_integer()) return fmt::format("i{}", key.integer());
  if (key.is_float()) {
    const double number = key.number();
    const bool whole = std::abs(number) < 9e15 && std::floor(number) == number;
    return whole ? fmt::format("i{}", static_cast<std::int64_t>(number))
                 : fmt::format("f{}", number);
  }
  if (key.is_sequence() && key.sequence().tuple) {
    std::string name = "t";
    for (const Value& item : key.sequence().items) {
      const std::string part = name_of_key(item);
      name += fmt::format("{}:{}", part.size(), part);
    }
    return name;
  }
  fail(fmt::format("expected a key that can be hashed, found {}", type_name(key)));
}

std::string float_text(double number) {
  std::string out = fmt::format("{}", number);
  const bool whole = out.find_first_not_of("-0123456789") == std::string::npos;
  return whole ? out + ".0" : out;
}

void append_repr(const Value& value, std::string& out, Budget& budget) {
  budget.step();
  if (value.is_text()) {
    out += python_quoted(value.text());
  } else if (value.is_sequence()) {
    const Sequence& sequence = value.sequence();
    out += sequence.tuple ? '(' : '[';
    for (std::size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) out += ", ";
      append_repr(sequence.items[i], out, budget);
    }
    if (sequence.tuple && sequence.items.size() == 1) out += ',';
    out += sequence.tuple ? ')' : ']';
  } else if (value.is_dict()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : value.dict().items) {
      if (!first) out += ", ";
      first = false;
      append_repr(key, out, budget);
      out += ": ";
      append_repr(item, out, budget);
    }
    out += '}';
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    out += str(value, budget);
  }
  budget.bytes(out.size() / 64);  // nested texts are counted as they grow
}

}  // namespace

void Budget::step(std::uint64_t n) {
  if (n > steps_) {
    throw Failure{ErrorCode::kResources, "expected a template that ends, found one that goes on"};
  }
  steps_ -= n;
}

void Budget::bytes(std::size_t n) {
  if (n > bytes_) {
    throw Failure{ErrorCode::kResources,
                  "expected a template that makes texts of a reasonable size, found one that "
                  "makes ever more"};
  }
  bytes_ -= n;
}

std::optional<Value> Object::get(std::string_view) { return std::nullopt; }
bool Object::set(std::string_view, Value) { return false; }
Value Object::call(Run&, const Arguments&) {
  fail(fmt::format("expected a function, found {}", type()));
}

Value Value::of(std::string text) {
  return Value(Storage(std::make_shared<const std::string>(std::move(text))));
}

Value Value::of(Dict dict) { return Value(Storage(std::make_shared<const Dict>(std::move(dict)))); }

Value Value::undefined(std::string complaint) {
  return Value(Storage(std::make_shared<const Undefined>(Undefined{std::move(complaint)})));
}

Value Value::list(List items, bool tuple) {
  int depth = 1;
  for (const Value& item : items) depth = deeper(depth, item);
  return Value(Storage(std::make_shared<const Sequence>(Sequence{std::move(items), tuple, depth})));
}

std::int64_t Value::integer() const {
  return is_bool() ? std::int64_t{boolean()} : std::get<std::int64_t>(storage_);
}

double Value::number() const {
  return is_float() ? std::get<double>(storage_) : static_cast<double>(integer());
}

const Value* Dict::find(const Value& key) const {
  const auto found = index.find(name_of_key(key));
  return found == index.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = index.find('s' + std::string(key));
  return found == index.end() ? nullptr : &items[found->second].second;
}

void Dict::set(const Value& key, Value value) {
  depth = deeper(depth, value);
  const auto [at, fresh] = index.emplace(name_of_key(key), items.size());
  if (fresh) {
    items.emplace_back(key, std::move(value));
  } else {
    items[at->second].second = std::move(value);
  }
}

std::string_view type_name(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is_undefined()) return "an undefined value";
  if (value.is_bool()) return "bool";
  if (value.is_integer()) return "int";
  if (value.is_float()) return "float";
  if (value.is_text()) return "str";
  if (value.is_sequence()) return value.sequence().tuple ? "tuple" : "list";
  if (value.is_dict()) return "dict";
  return value.object()->type();
}

bool truth(const Value& value) {
  if (value.is_none() || value.is_undefined()) return false;
  if (value.is_number()) return value.number() != 0.0;
  if (value.is_text()) return !value.text().empty();
  if (value.is_sequence()) return !value.sequence().items.empty();
  if (value.is_dict()) return !value.dict().items.empty();
  return true;
}

std::string str(const Value& value, Budget& budget) {
  if (value.is_text()) return value.text();
  if (value.is_undefined()) return {};
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_integer()) return fmt::format("{}", value.integer());
  if (value.is_float()) return float_text(value.number());
  if (value.is_object()) return fmt::format("<{}>", value.object()->type());
  return repr(value, budget);
}

std::string repr(const Value& value, Budget& budget) {
  std::string out;
  append_repr(value, out, budget);
  return out;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    if (!a.is_float() && !b.is_float()) return a.integer() == b.integer();
    return a.number() == b.number();
  }
  if (a.is_text() && b.is_text()) return a.text() == b.text();
  if (a.is_sequence() && b.is_sequence()) {
    const Sequence& x = a.sequence();
    const Sequence& y = b.sequence();
    if (x.tuple != y.tuple || x.items.size() != y.items.size()) return false;
    return std::equal(
        x.items.begin(), x.items.end(), y.items.begin(), [&](const Value& p, const Value& q) {
          return equal(p, q, budget);
        });
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    return std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const auto& item) {
      const Value* other = b.dict().find(item.first);
      return other != nullptr && equal(item.second, *other, budget);
    });
  }
  if (a.is_object() && b.is_object()) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int compare(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : (y < x ? 1 : 0); };
  if (a.is_undefined()) fail(a.complaint());
  if (b.is_undefined()) fail(b.complaint());
  if (a.is_number() && b.is_number()) {
    if (!a.is_float() && !b.is_float()) return order(a.integer(), b.integer());
    return order(a.number(), b.number());
  }
  // Bytes of UTF-8 are in the order of code points.
  if (a.is_text() && b.is_text()) return order(a.text(), b.text());
  if (a.is_sequence() && b.is_sequence() && a.sequence().tuple == b.sequence().tuple) {
    const List& x = a.sequence().items;
    const List& y = b.sequence().items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i], budget)) return compare(x[i], y[i], budget);
    }
    return order(x.size(), y.size());
  }
  fail(fmt::format(
      "expected two values that have an order, found {} and {}", type_name(a), type_name(b)));
}

List iterate(const Value& value, Budget& budget) {
  List out;
  if (value.is_sequence()) {
    out = value.sequence().items;
  } else if (value.is_dict()) {
    out.reserve(value.dict().items.size());
    for (const auto& item : value.dict().items) out.push_back(item.first);
  } else if (value.is_text()) {
    const std::string& text = value.text();
    budget.bytes(text.size() * sizeof(Value));
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      at = next_character(text, at);
      out.push_back(Value::of(text.substr(begin, at - begin)));
    }
  } else if (!value.is_undefined()) {
    fail(fmt::format("expected a list to go through, found {}", type_name(value)));
  }
  budget.step(out.size());
  budget.bytes(out.size() * sizeof(Value));
  return out;
}

std::int64_t length(const Value& value) {
  if (value.is_text()) return static_cast<std::int64_t>(characters(value.text()));
  if (value.is_sequence()) return static_cast<std::int64_t>(value.sequence().items.size());
  if (value.is_dict()) return static_cast<std::int64_t>(value.dict().items.size());
  if (value.is_undefined()) return 0;
  fail(fmt::format("expected something that has a length, found {}", type_name(value)));
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_undefined()) return false;
  if (container.is_text()) {
    if (item.is_undefined()) fail(item.complaint());
    if (!item.is_text()) {
      fail(fmt::format("expected a text to look for in a text, found {}", type_name(item)));
    }
    budget.step(container.text().size() / 16);
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  if (!container.is_sequence()) {
    fail(fmt::format("expected a list, a dict or a text after in, found {}", type_name(container)));
  }
  const List& items = container.sequence().items;
  return std::any_of(
      items.begin(), items.end(), [&](const Value& x) { return equal(x, item, budget); });
}

}  // namespace headscope::jinja
