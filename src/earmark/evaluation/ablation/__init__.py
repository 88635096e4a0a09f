"""The masking ablation of APEX: does a decision hang on the regions that it shows, more than on other regions?"""
