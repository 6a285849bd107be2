#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/json.h"
#include "tokenizers/jinja_text.h"
#include "tokenizers/jinja_value.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void refuse(const Value& value) {
  throw Failure{
      ErrorCode::kInput,
      fmt::format("expected a value that JSON can hold, found {}",
                  value.is_undefined() ? value.complaint() : std::string(type_name(value)))};
}

// Writes as Python's json.dumps does.
class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value, int level) {
    budget_.step();
    const std::size_t before = out_.size();
    if (value.is_dict()) {
      write_dict(value.dict(), level);
      return;
    }
    if (value.is_sequence()) {
      write_list(value.sequence().items, level);
      return;
    }
    if (value.is_text()) {
      append_json_text(value.text(), style_.ascii, out_);
    } else {
      out_ += scalar(value);
    }
    budget_.bytes(out_.size() - before);
  }

  std::string take() && { return std::move(out_); }

 private:
  std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.boolean() ? "true" : "false";
    if (value.is_integer()) return fmt::format("{}", value.integer());
    if (!value.is_float()) refuse(value);
    const double number = value.number();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return str(value, budget_);
  }

  void new_line(int level) {
    if (!style_.indent.has_value()) return;
    budget_.bytes(style_.indent->size() * static_cast<std::size_t>(level) + 1);
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += *style_.indent;
  }

  void write_list(const List& items, int level) {
    out_ += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.between_items;
      new_line(level + 1);
      write(items[i], level + 1);
    }
    if (!items.empty()) new_line(level);
    out_ += ']';
  }

  void write_dict(const Dict& dict, int level) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [&](const auto* a, const auto* b) {
        return compare(a->first, b->first, budget_) < 0;
      });
    }
    out_ += '{';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.between_items;
      new_line(level + 1);
      const Value& key = items[i]->first;
      append_json_text(key.is_text() ? key.text() : scalar(key), style_.ascii, out_);
      out_ += style_.after_key;
      write(items[i]->second, level + 1);
    }
    if (!items.empty()) new_line(level);
    out_ += '}';
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

// nlohmann's own objects forget the order of keys (or find them slowly), so values are built from
// its events.
class Builder {
 public:
  Value take() && { return std::move(result_); }

  bool null() { return put(Value()); }
  bool boolean(bool truth) { return put(Value::of(truth)); }
  bool number_integer(std::int64_t number) { return put(Value::of(number)); }
  bool number_unsigned(std::uint64_t number) {
    return number <= INT64_MAX ? put(Value::of(static_cast<std::int64_t>(number)))
                               : put(Value::of(static_cast<double>(number)));
  }
  bool number_float(double number, const std::string&) { return put(Value::of(number)); }
  bool string(std::string& text) { return put(Value::of(std::move(text))); }
  bool binary(json::Value::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }
  bool key(std::string& text) {
    open_.back().key = std::move(text);
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) {
    return false;
  }

 private:
  struct Open {
    bool object = false;
    Dict dict;
    List list;
    std::string key;
  };

  bool open(bool object) {
    open_.emplace_back().object = object;
    return true;
  }

  bool close() {
    Open last = std::move(open_.back());
    open_.pop_back();
    return put(last.object ? Value::of(std::move(last.dict)) : Value::list(std::move(last.list)));
  }

  bool put(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (open_.back().object) {
      open_.back().dict.set(Value::of(std::move(open_.back().key)), std::move(value));
    } else {
      open_.back().list.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Open> open_;
  Value result_;
};

}  // namespace

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  writer.write(value, 0);
  return std::move(writer).take();
}

Value from_json(std::string_view text, std::string_view name) {
  constexpr int kDepth = 90;                         // below what a list of a template may nest
  (void)json::parse(text, name, {.depth = kDepth});  // for its complaints
  Builder builder;
  json::Value::sax_parse(text, &builder);
  return std::move(builder).take();
}

}  // namespace headscope::jinja
